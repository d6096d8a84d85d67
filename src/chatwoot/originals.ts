/**
 * What must not be found any more: names, addresses, numbers and beginnings of messages, each kept only as a hash, and looked for
 * word by word in whatever is scanned. A value so short that it turns up by chance is counted, and not looked for.
 */
import { alphabetOf } from "./alphabets.ts";

/** Of a longer value so many words count: nobody else has them in this order. */
const WORDS_MAX = 6;
/** A letter of Chinese or Japanese is a word: they are written without spaces. */
const WORD =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|[[\p{L}\p{N}\p{M}]--[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]]+/gv;
/** What COPY and JSON write for line ends and the like must not stick to a word. */
const ESCAPES = /\\+(?:[nrtbfv]|u[0-9a-f]{4}|x[0-9a-f]{2})/gi;

interface Original {
  readonly hash: number;
  readonly bits: number;
  readonly words: number;
}

const FILTER_BITS = 24;
const FILTER_MASK = 2 ** FILTER_BITS - 1;
/** A value may turn up by chance this seldom, in all that is scanned: 2 to the minus of it. */
const CHANCE_BITS = 10;

export interface Originals {
  /** Values that were met, each once. */
  readonly met: number;
  add(value: string): void;
  /** @param scannedBytes How much will be scanned, about. */
  seal(scannedBytes: number): Scanner;
}

export interface Scanner {
  readonly lookedFor: number;
  /** So short that others' words would be taken for them. */
  readonly tooShort: number;
  /** How many of a text's beginnings of words are an original's. */
  count(text: string): number;
}

/** Names of people and of inboxes that are words which the application itself uses, too. */
const APPLICATION_WORDS = new Set(
  "administrator instagram facebook messenger whatsapp telegram twitter shopify dialogflow chatwoot installation".split(
    " ",
  ),
);

/**
 * Memory: some 60 bytes for each value that differs.
 *
 * @param ownWords Words of the database itself, in lower case: one of them alone is nobody.
 */
export function gatherOriginals(ownWords: ReadonlySet<string> = new Set()): Originals {
  const found = new Map<number, Original>();
  return {
    get met() {
      return found.size;
    },
    add(value) {
      const words = wordsOf(value).slice(0, WORDS_MAX);
      const [first] = words;
      if (first === undefined) return;
      if (words.length === 1 && (APPLICATION_WORDS.has(first) || ownWords.has(first))) return;
      const hash = words.reduce((sum, word) => mix(sum, hashWord(word)), START);
      if (!found.has(hash)) found.set(hash, { hash, bits: bitsOf(words), words: words.length });
    },
    seal(scannedBytes) {
      const needed = Math.log2(1 + found.size) + Math.log2(1 + scannedBytes / 6) + CHANCE_BITS;
      const sought = [...found.values()].filter(({ bits }) => bits >= needed);
      return scanner(sought, found.size - sought.length);
    },
  };
}

function scanner(sought: readonly Original[], tooShort: number): Scanner {
  const hashes = new Set(sought.map(({ hash }) => hash));
  const filter = new Uint8Array(2 ** (FILTER_BITS - 3));
  for (const hash of hashes) {
    const at = hash & FILTER_MASK;
    filter[at >> 3] = (filter[at >> 3] ?? 0) | (1 << (at & 7));
  }
  const lengths = new Set(sought.map(({ words }) => words));
  const longest = Math.max(0, ...lengths);
  return {
    lookedFor: sought.length,
    tooShort,
    count(text) {
      const words = wordsOf(text).map(hashWord);
      let count = 0;
      for (let at = 0; at < words.length; at += 1) {
        let hash = START;
        for (let length = 1; length <= longest && at + length <= words.length; length += 1) {
          hash = mix(hash, words[at + length - 1] ?? 0);
          if (!lengths.has(length)) continue;
          const low = hash & FILTER_MASK;
          if (((filter[low >> 3] ?? 0) & (1 << (low & 7))) !== 0 && hashes.has(hash)) count += 1;
        }
      }
      return count;
    },
  };
}

function wordsOf(text: string): string[] {
  return text.replaceAll(ESCAPES, " ").toLowerCase().match(WORD) ?? [];
}

function bitsOf(words: readonly string[]): number {
  let bits = 0;
  for (const char of words.join("")) bits += Math.log2(alphabetOf(char)?.letters.length ?? 2);
  return bits;
}

const START = 0;

/** 53 bits of a word, from two hashes of 32. */
function hashWord(word: string): number {
  let [a, b] = [0x811c_9dc5, 0x9e37_79b9];
  for (let at = 0; at < word.length; at += 1) {
    const code = word.charCodeAt(at);
    a = Math.imul(a ^ code, 0x0100_0193);
    b = Math.imul(b ^ code, 0x85eb_ca6b);
  }
  return join(a ^ (a >>> 15), b ^ (b >>> 13));
}

function mix(sum: number, word: number): number {
  const [sumLow, sumHigh] = [sum >>> 0, Math.floor(sum / 2 ** 32)];
  const [low, high] = [word >>> 0, Math.floor(word / 2 ** 32)];
  const a = Math.imul(sumLow ^ low, 0xc2b2_ae35) ^ Math.imul(sumHigh, 0x27d4_eb2f);
  const b = Math.imul(sumHigh ^ high, 0x1656_67b1) ^ Math.imul(sumLow + 1, 0x85eb_ca6b);
  return join(a ^ (a >>> 16), b ^ (b >>> 15));
}

function join(low: number, high: number): number {
  return (high & 0x1f_ffff) * 2 ** 32 + (low >>> 0);
}
