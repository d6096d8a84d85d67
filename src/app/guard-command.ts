/** The command that `guard` is given: a program of this machine with its arguments, or a line for the shell. */
import { Failure } from "../base/errors.ts";
import { isProgram } from "../system/attached.ts";
import type { Surroundings } from "./surroundings.ts";

/** @throws Failure `usage/invalid` for what is no command here: before a backup is made for nothing. */
export async function commandOf(words: readonly string[], s: Surroundings): Promise<[string, ...string[]]> {
  const [program, ...args] = words;
  if (program === undefined) {
    throw new Failure("usage/invalid", "no command is given", {
      hint: "Write it after '--', as in: chatkeep guard -- cwctl --upgrade",
    });
  }
  if (await isProgram(program, s)) return [program, ...args];
  // One word with a space in it is a line for the shell.
  if (args.length === 0 && /\s/.test(program)) return ["/bin/sh", "-c", program];
  throw new Failure("usage/invalid", `there is no program '${program}'`, {
    hint: "Give the command as you would type it, or a whole line for the shell in quotes.",
  });
}

/** As it would be typed. */
export function shownCommand(words: readonly string[]): string {
  return words.map((word) => (/^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ");
}
