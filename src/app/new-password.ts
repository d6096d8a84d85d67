/** A new password for a key: from a file, from a command, from a person who types it twice, or made here. */
import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import { readSecretCommand, readSecretFile } from "./secrets.ts";
import type { Surroundings } from "./surroundings.ts";

/** 160 bits in eight groups of letters and digits that can't be mistaken for one another when read from paper. */
export function makePassword(): string {
  const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
  const letters = [...randomBytes(32)].map((byte) => alphabet[byte & 31] ?? "a").join("");
  return letters.match(/.{4}/g)?.join("-") ?? letters;
}

export interface NewPasswordFlags {
  newPasswordFile?: string | undefined;
  newPasswordCommand?: string | undefined;
  /** The file that a password is made for. */
  generate?: string | undefined;
}

export interface NewPassword {
  value: string;
  /** Where one that was made here must be kept before it is used. */
  keepIn: string | undefined;
}

const WHAT = "the new password";

function given(value: string): NewPassword {
  return { value, keepIn: undefined };
}

/** @throws Failure `usage/invalid` when it is to come from two places, or from nowhere. */
export async function readNewPassword(flags: NewPasswordFlags, s: Surroundings): Promise<NewPassword> {
  const { newPasswordFile, newPasswordCommand, generate } = flags;
  if ([newPasswordFile, newPasswordCommand, generate].filter((from) => from !== undefined).length > 1) {
    throw new Failure("usage/invalid", "the new password can come from one place only", {
      hint: "Give one of --new-password-file, --new-password-command and --generate.",
    });
  }
  if (newPasswordFile !== undefined) return given(await readSecretFile(newPasswordFile, WHAT, s));
  if (newPasswordCommand !== undefined) return given(await readSecretCommand(newPasswordCommand, WHAT, s));
  if (generate === undefined) return given(await askTwice(s));
  const value = makePassword();
  s.hide([value]);
  return { value, keepIn: resolve(s.cwd, generate) };
}

async function askTwice(s: Surroundings): Promise<string> {
  if (s.person === undefined) {
    throw new Failure("usage/invalid", "nobody is at a terminal to type the new password", {
      hint: "Give --new-password-file FILE or --new-password-command COMMAND, or let one be made with --generate FILE.",
    });
  }
  const value = await s.person.secret("New password:");
  s.hide([value]);
  const again = await s.person.secret("The same again:");
  s.hide([again]);
  if (value === again) return value;
  throw new Failure("usage/invalid", "the two passwords are not the same", { hint: "No key was changed; try again." });
}
