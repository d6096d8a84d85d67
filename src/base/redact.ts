/** Takes secrets out of texts: nothing that is printed, logged or answered ever holds one. */
import { Buffer } from "node:buffer";

/** Shorter values would turn up in innocent texts. */
const HIDDEN_MIN_LENGTH = 6;
/** Words that everybody knows: to hide them would say more than it hides, and spoil every line they stand in. */
const PUBLIC_WORDS = new Set(
  "chatwoot chatwoot_prod chatwoot_dev chatwoot_production postgres postgresql password redis localhost production development secret default".split(
    " ",
  ),
);

/** The base64 of any text that holds the value, at each of its three places, without the digits that its neighbours share. */
function base64Forms(value: string): string[] {
  const bytes = Buffer.from(value, "utf8");
  const forms = [bytes.toString("base64"), bytes.toString("base64").replace(/=+$/, "")];
  if (bytes.length >= 12) {
    for (const before of [1, 2]) {
      const encoded = Buffer.concat([Buffer.alloc(before), bytes])
        .toString("base64")
        .replace(/=+$/, "");
      forms.push(encoded.slice(before + 1, -1));
    }
    forms.push(bytes.toString("base64").replace(/=+$/, "").slice(0, -1));
  }
  return forms.flatMap((form) => [form, form.replaceAll("+", "-").replaceAll("/", "_")]);
}

function formsOf(value: string): string[] {
  const urlForms = [encodeURIComponent(value.toWellFormed()), encodeURI(value.toWellFormed())];
  return [
    value,
    ...urlForms,
    ...urlForms.map((form) => form.replaceAll(/%[0-9A-F]{2}/g, (code) => code.toLowerCase())),
    JSON.stringify(value).slice(1, -1),
    ...base64Forms(value),
  ];
}

const MASK = "•••";

/**
 * Makes a function that takes secrets out of any text: as they are, URL-encoded, JSON-escaped and in base64.
 * Values shorter than six characters, and words that everybody knows, are left.
 */
export function createRedactor(values: Iterable<string>): (text: string) => string {
  const forms = new Set<string>();
  for (const value of values) {
    if (value.length < HIDDEN_MIN_LENGTH || PUBLIC_WORDS.has(value.toLowerCase())) continue;
    for (const form of formsOf(value)) if (form.length >= HIDDEN_MIN_LENGTH) forms.add(form);
  }
  if (forms.size === 0) return (text) => text;
  const longestFirst = [...forms].toSorted((a, b) => b.length - a.length);
  const pattern = new RegExp(longestFirst.map((form) => RegExp.escape(form)).join("|"), "g");
  return (text) => {
    const redacted = text.replaceAll(pattern, MASK);
    // What is left may close up to a secret that holds the mask itself: then nothing of the text is safe.
    return longestFirst.some((form) => redacted.includes(form)) ? MASK : redacted;
  };
}
