/** What Compose fills in where a Compose file says `${NAME}`. Format: "Interpolation" in the Compose Specification. */
import type { Environment } from "../../chatwoot/environment.ts";

const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;

function nameAt(text: string, at: number): string | undefined {
  NAME.lastIndex = at;
  return NAME.exec(text)?.[0];
}

/** Where the brace ends that was opened before `from`: what stands in for a value may hold others. */
function endOfBrace(text: string, from: number): number {
  let depth = 1;
  for (let at = from; at < text.length; at += 1) {
    if (text.startsWith("${", at)) depth += 1;
    else if (text[at] === "}" && --depth === 0) return at;
  }
  return -1;
}

/** What stands for `${inner}`; undefined where nothing here says it. */
function valueOf(inner: string, values: Environment): string | undefined {
  const name = nameAt(inner, 0);
  if (name === undefined) return undefined;
  const [, whenEmpty, how, other = ""] = /^(:?)([-+?])([^]*)$/.exec(inner.slice(name.length)) ?? [];
  if (how === undefined && inner !== name) return undefined;
  const value = values.get(name);
  const isGiven = value !== undefined && (whenEmpty !== ":" || value !== "");
  if (how === "+") return isGiven ? fillIn(other, values) : "";
  if (how === "-") return isGiven ? value : fillIn(other, values);
  // Whoever ran Compose may have had it in his own environment, which nobody kept.
  return isGiven ? value : undefined;
}

/** The text with `$NAME`, `${NAME}`, `${NAME:-other}`, `${NAME:+other}` and `$$` filled in; what nothing here says stays as it is. */
export function fillIn(text: string, values: Environment): string {
  let filled = "";
  for (let at = 0; at < text.length;) {
    const isBraced = text.startsWith("${", at);
    const end = isBraced ? endOfBrace(text, at + 2) : at + 1 + (nameAt(text, at + 1)?.length ?? 0);
    if (text.startsWith("$$", at)) {
      filled += "$";
      at += 2;
    } else if (text[at] !== "$" || end === -1 || (!isBraced && end === at + 1)) {
      filled += text[at];
      at += 1;
    } else {
      const next = isBraced ? end + 1 : end;
      filled += valueOf(isBraced ? text.slice(at + 2, end) : text.slice(at + 1, end), values) ?? text.slice(at, next);
      at = next;
    }
  }
  return filled;
}
