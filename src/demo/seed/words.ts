/** What people in the demo are called and write. */
import type { SeededRandom } from "../random.ts";

const GIVEN_NAMES = (
  "Aiko Amara Anna Björn Carla Chidi Dmitri Elif Fatima Georg Hana Inês Jamal Jörg Kofi Lena Léa Mateo Mei Nadia " +
  "Noah Olga Pedro Priya Rosa Samir Sofia Thabo Uma Viktor Wanjiru Xin Yusuf Zoë"
).split(" ");
const FAMILY_NAMES = (
  "Abe Almeida Bauer Chen Cohen Diallo Eriksen Fernández García Haddad Ivanova Jensen Kowalski Larsson Müller " +
  "Nguyen Okafor O'Brien Patel Quispe Rossi Schmidt Silva Tanaka Usman Van-der-Berg Weiß Yılmaz Zhang"
).split(" ");
const WORDS = (
  "order invoice delivery refund the a your our please could you check again address changed phone number account " +
  "password reset link does not work today tomorrow yesterday parcel arrived damaged missing size colour blue large " +
  "thank you hello regards we are looking into this and will answer soon it was sent on Monday tracking shows nothing " +
  "charged twice card payment failed app crashes when opening the page after update subscription cancel upgrade plan"
).split(" ");
const ENDINGS = [".", ".", ".", "!", "?", " 🙂", " 👍🏽", "…"] as const;

/** Texts that badly made backups stumble over. All of them turn up in real support desks. */
export const AWKWARD_TEXTS = [
  "\\N",
  "\\.",
  "a line\r\nanother\rand\n\nmore",
  "tab\there, backslash \\ and \\n that is not a newline",
  "quotes ' and \" and $$ and `",
  "family 👨‍👩‍👧‍👦, clef 𝄞, old italic 𐌰𐌱𐌲",
  "Größe: ½ m² – naïve café, Ελληνικά, العربية, 日本語",
  "",
  " ",
  "control \u0001\u0008\u000b\u001f\u007f",
  "combining e\u0301 and no-break\u00a0space\u2028line separator",
] as const;

export interface Person {
  name: string;
  given: string;
  family: string;
  /** Unique for its number. */
  email: string;
}

export function makePerson(random: SeededRandom, number: number, domain: string): Person {
  const given = random.pick(GIVEN_NAMES);
  const family = random.pick(FAMILY_NAMES);
  return { given, family, name: `${given} ${family}`, email: `customer-${number}@${domain}` };
}

export function makeSentence(random: SeededRandom): string {
  const words = Array.from({ length: 4 + random.below(20) }, () => random.pick(WORDS));
  const text = words.join(" ");
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${random.pick(ENDINGS)}`;
}

/** So many bytes of text, give or take nothing. */
export function makeText(random: SeededRandom, sizeBytes: number): Buffer {
  const parts: string[] = [];
  for (let length = 0; length < sizeBytes;) {
    const sentence = `${makeSentence(random)}\n`;
    parts.push(sentence);
    length += sentence.length;
  }
  const text = Buffer.from(parts.join(""));
  return Buffer.concat([text, Buffer.alloc(Math.max(0, sizeBytes - text.length), " ")]).subarray(0, sizeBytes);
}
