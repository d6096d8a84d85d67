/**
 * Which letters may stand for a letter: those of its own script and case, so that a text which was replaced has the length, the
 * writing and the look of the one before. Digits stand for digits and pictures for pictures; all else stays.
 */

/** Letters of one kind: lower case where it has cases. */
export interface Alphabet {
  readonly letters: readonly string[];
  readonly indexOf: ReadonlyMap<string, number>;
}

/** Blocks of code points whose letters are of a kind, with what they must be; the first that has a letter counts. */
const BLOCKS: readonly (readonly [first: number, last: number, kind: RegExp])[] = [
  [0x30, 0x39, /\p{Nd}/u],
  [0x61, 0x7a, /\p{Ll}/u],
  [0xdf, 0x17f, /\p{Ll}/u],
  [0x1ea0, 0x1eff, /\p{Ll}/u],
  [0x3b1, 0x3c9, /\p{Ll}/u],
  [0x3ac, 0x3ce, /\p{Ll}/u],
  [0x430, 0x44f, /\p{Ll}/u],
  [0x450, 0x45f, /\p{Ll}/u],
  [0x561, 0x586, /\p{Ll}/u],
  [0x5d0, 0x5ea, /\p{Lo}/u],
  [0x620, 0x64a, /\p{Lo}/u],
  [0x671, 0x6d3, /\p{Lo}/u],
  [0x904, 0x939, /\p{Lo}/u],
  [0x985, 0x9b9, /\p{Lo}/u],
  [0xb85, 0xbb9, /\p{Lo}/u],
  [0xe01, 0xe2e, /\p{Lo}/u],
  [0x10d0, 0x10fa, /\p{L}/u],
  [0x1780, 0x17a2, /\p{Lo}/u],
  [0x3041, 0x3096, /\p{Lo}/u],
  [0x30a1, 0x30fa, /\p{Lo}/u],
  [0x4e00, 0x9fff, /\p{Lo}/u],
  [0xac00, 0xd7a3, /\p{Lo}/u],
  [0x1f300, 0x1f3fa, /\p{Emoji_Presentation}/u],
  [0x1f400, 0x1f5ff, /\p{Emoji_Presentation}/u],
  [0x1f600, 0x1f64f, /\p{Emoji_Presentation}/u],
  [0x1f680, 0x1f6ff, /\p{Emoji_Presentation}/u],
  [0x1f900, 0x1f9ff, /\p{Emoji_Presentation}/u],
];

const LETTER = /[\p{L}\p{N}\p{Extended_Pictographic}]/u;
const built = new Map<string, Alphabet>();
const known = new Map<string, Alphabet | undefined>();

/** Of what is neither a letter, a digit nor a picture: nothing. @param char One character, in lower case. */
export function alphabetOf(char: string): Alphabet | undefined {
  if (known.has(char)) return known.get(char);
  const found = findAlphabet(char);
  known.set(char, found);
  return found;
}

function findAlphabet(char: string): Alphabet | undefined {
  const code = char.codePointAt(0) ?? 0;
  const block = BLOCKS.find(([first, last, kind]) => code >= first && code <= last && kind.test(char));
  if (block !== undefined) {
    const alphabet = buildAlphabet(block[0], block[1], block[2]);
    if (alphabet.indexOf.has(char)) return alphabet;
    const single = buildAlphabet(block[0], block[1], block[2], false);
    if (single.indexOf.has(char)) return single;
  }
  if (!LETTER.test(char)) return undefined;
  // Of a script that is not listed: what is near it and alike, and where that is nothing, plain letters.
  for (const kind of [/\p{Nd}/u, /\p{Ll}/u, /\p{Lo}/u, /\p{L}/u]) {
    if (!kind.test(char)) continue;
    const first = code - (code % 128);
    const near = buildAlphabet(first, first + 127, kind);
    if (near.letters.length > 1 && near.indexOf.has(char)) return near;
  }
  return { ...buildAlphabet(0x61, 0x7a, /\p{Ll}/u), indexOf: new Map([[char, 0]]) };
}

/** @param paired Letters that have both cases or none; else those whose other case is written in another way, as `ß`. */
function buildAlphabet(first: number, last: number, kind: RegExp, paired = true): Alphabet {
  const name = `${first} ${last} ${kind.source} ${paired}`;
  const before = built.get(name);
  if (before !== undefined) return before;
  const letters: string[] = [];
  for (let code = first; code <= last; code += 1) {
    const letter = String.fromCodePoint(code);
    if (kind.test(letter) && isPaired(letter) === paired) letters.push(letter);
  }
  const alphabet = { letters, indexOf: new Map(letters.map((letter, at) => [letter, at])) };
  built.set(name, alphabet);
  return alphabet;
}

function isPaired(letter: string): boolean {
  const upper = letter.toUpperCase();
  return upper.length === letter.length && upper.toLowerCase() === letter;
}

/** A character in lower case, and whether it was another; one whose lower case is longer stays as it is. */
export function foldCase(char: string): { folded: string; isUpper: boolean } {
  const folded = char.toLowerCase();
  const isUpper = folded !== char && folded.length === char.length && folded.toUpperCase() === char;
  return isUpper ? { folded, isUpper } : { folded: char, isUpper: false };
}
