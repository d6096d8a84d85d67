/** How text looks on the terminal at hand: its width, its colours, and what time it is there. */
import { stripVTControlCharacters } from "node:util";

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
export type Colour = keyof typeof CODES;

export interface Look {
  /** Columns of the terminal; undefined where the output goes to a file or a pipe and nothing must be left out. */
  readonly width: number | undefined;
  /** Wall clock, milliseconds since 1970-01-01Z. */
  readonly nowMs: number;
  paint(colour: Colour, text: string): string;
}

/** Without colour, for tests, files and pipes. */
export function plainLook(nowMs: number, width?: number): Look {
  return { width, nowMs, paint: (_colour, text) => text };
}

export function colouredLook(nowMs: number, width?: number): Look {
  return { width, nowMs, paint: (colour, text) => `\u001B[${CODES[colour]}m${text}\u001B[0m` };
}

/** The colour sequences that we make ourselves; every other control character is data, and is made visible. */
export const OWN_SEQUENCE = `\\u001B\\[(?:0|${Object.values(CODES).join("|")})m`;

const WIDE =
  /[\u1100-\u115F\u2E80-\u303E\u3041-\uA4CF\uA960-\uA97F\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF00-\uFF60\uFFE0-\uFFE6\u{1F300}-\u{1FAFF}\u{20000}-\u{3FFFD}]/u;
const ZERO = /[\p{Mark}\p{Format}]/u;

/** Columns that the text takes on a terminal. */
export function widthOf(text: string): number {
  let width = 0;
  for (const char of stripVTControlCharacters(text)) width += ZERO.test(char) ? 0 : WIDE.test(char) ? 2 : 1;
  return width;
}

export function padEnd(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - widthOf(text)));
}

export function padStart(text: string, width: number): string {
  return " ".repeat(Math.max(0, width - widthOf(text))) + text;
}

/** Shortens to so many columns, with an ellipsis. */
export function clip(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let out = "";
  let used = 0;
  for (const char of text) {
    const columns = widthOf(char);
    if (used + columns > width - 1) break;
    out += char;
    used += columns;
  }
  return width > 0 ? `${out}…` : "";
}

/** Breaks at spaces so that no line is longer than `width`, unless one word is; every line is indented. */
export function wrap(text: string, width: number, indent = ""): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split("\n")) {
    let line = "";
    for (const word of paragraph.split(" ")) {
      if (line === "") line = word;
      else if (widthOf(indent) + widthOf(line) + 1 + widthOf(word) <= width) line += ` ${word}`;
      else {
        lines.push(indent + line);
        line = word;
      }
    }
    lines.push(line === "" ? "" : indent + line);
  }
  return lines;
}

/** Hints are broken for a terminal only: in a log, a finding's hint is one line that grep finds. */
export function hintWidth(look: Look): number {
  return look.width === undefined ? Infinity : proseWidth(look);
}

/** The width that prose is wrapped to: comfortable to read, and never wider than the terminal. */
export function proseWidth(look: Look): number {
  return Math.min(look.width ?? 100, 100);
}
