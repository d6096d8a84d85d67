/**
 * Passwords that a command prints, as providers' tokens are: asked for when a session is opened, and kept for a short while,
 * since a token lives for minutes and a backup for hours. What the command printed is never shown.
 */
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { systemClock } from "../base/clock.ts";
import { hasTerminal, runProgram } from "../system/process.ts";
import type { ServerAddress } from "./address.ts";

interface Printed {
  password: Promise<string>;
  atMs: number;
}

const printed = new Map<string, Printed>();

/**
 * The address with the password that is to be used now.
 * @param refused A password that the server did not take: if it is the one that is kept, the command is asked again.
 * @throws Failure `program/failed` or `config/invalid` when the command gives none.
 */
export async function withPassword(
  address: ServerAddress,
  { signal, refused }: { signal: AbortSignal; refused?: string | undefined },
): Promise<ServerAddress> {
  const command = address.passwordCommand;
  if (command === undefined) return address;
  const kept = printed.get(command);
  const isFresh = kept !== undefined && systemClock.monotonic() - kept.atMs < LIMITS.passwordKeptMs;
  if (isFresh) {
    const password = await kept.password;
    if (password !== refused) return { ...address, password };
  }
  if (printed.get(command) === kept) {
    const asked: Printed = { password: ask(command, signal), atMs: systemClock.monotonic() };
    printed.set(command, asked);
    asked.password.catch(() => {
      if (printed.get(command) === asked) printed.delete(command);
    });
  }
  return { ...address, password: await printed.get(command)?.password };
}

async function ask(command: string, signal: AbortSignal): Promise<string> {
  const tooLong = AbortSignal.timeout(LIMITS.passwordCommandMs);
  try {
    const either = AbortSignal.any([signal, tooLong]);
    const { stdout } = await runProgram("/bin/sh", ["-c", command], { signal: either, hasOwnGroup: !hasTerminal() });
    const password = stdout
      .toString("utf8")
      .replace(/^\uFEFF/, "")
      .trim();
    if (password !== "" && !password.includes("\n")) return password;
    const what = password === "" ? "nothing" : "several lines";
    throw new Failure("config/invalid", `the command for the database's password printed ${what}`, {
      hint: "database.password-command must print the password, and nothing else, on its standard output.",
    });
  } catch (error) {
    if (signal.aborted || isFailure(error, "config/invalid")) throw error;
    // The command itself may hold a secret.
    const how = tooLong.aborted ? `did not end within ${LIMITS.passwordCommandMs / 1000} seconds` : "failed";
    throw new Failure("program/failed", `the command for the database's password ${how}`, {
      // Nor is what it printed of errors shown: it may have told the password there.
      hint: "Run it by hand, as the user that runs Chatkeep, to see what it says.",
    });
  }
}
