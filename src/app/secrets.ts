/** Where passwords come from. They are trimmed as restic trims them, so that a password opens with both. */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import { readEnvFile } from "../chatwoot/environment.ts";
import { hasTerminal, runProgram } from "../system/process.ts";
import type { RepositoryConfig } from "./config.ts";
import type { Surroundings } from "./surroundings.ts";

/** White space around it and a byte-order mark go, as restic does with password files and commands. */
export function trimPassword(text: string): string {
  return text.replace(/^\uFEFF/, "").trim();
}

export async function readSecretFile(path: string, what: string, s: Surroundings): Promise<string> {
  let text: string;
  try {
    text = await readFile(resolve(s.cwd, path), "utf8");
  } catch (cause) {
    throw new Failure("config/invalid", `cannot read ${what} from '${path}': ${messageOf(cause)}`, {
      hint: "Put the file there, or run Chatkeep as the user that may read it.",
      cause,
    });
  }
  return checkSecret(trimPassword(text), `'${path}'`, what, s);
}

export async function readSecretCommand(command: string, what: string, s: Surroundings): Promise<string> {
  const options = { signal: s.signal, cwd: s.cwd, hasOwnGroup: !hasTerminal() };
  const running = runProgram("/bin/sh", ["-c", command], options);
  const { stdout } = await running.catch((error: unknown) => {
    if (!isFailure(error, "program/failed")) throw error;
    // The command itself may hold a secret.
    const message = `the command for ${what} failed: ${error.message}`;
    throw new Failure(error.code, message, { ...(error.hint === undefined ? {} : { hint: error.hint }), cause: error });
  });
  return checkSecret(trimPassword(stdout.toString("utf8")), "the command", what, s);
}

function checkSecret(value: string, where: string, what: string, s: Surroundings): string {
  if (value === "") {
    throw new Failure("config/invalid", `${what} is empty: ${where} gave nothing`, {
      hint: "An empty password protects nothing.",
    });
  }
  s.hide([value]);
  return value;
}

/**
 * The password of a configured repository, or of one that is only named by its location.
 * @throws Failure `config/invalid` when none is configured, empty or cannot be read.
 */
export async function readPassword(repository: RepositoryConfig | undefined, s: Surroundings): Promise<string> {
  const what =
    repository === undefined ? "the repository's password" : `the password of repository '${repository.name}'`;
  if (repository?.["password-file"] !== undefined) return await readSecretFile(repository["password-file"], what, s);
  if (repository?.["password-command"] !== undefined)
    return await readSecretCommand(repository["password-command"], what, s);
  if (repository?.password !== undefined) return checkSecret(repository.password, "the configuration", what, s);
  for (const prefix of ["CHATKEEP", "RESTIC"]) {
    const value = s.env[`${prefix}_PASSWORD`];
    if (value !== undefined && value !== "") return checkSecret(value, `$${prefix}_PASSWORD`, what, s);
    const file = s.env[`${prefix}_PASSWORD_FILE`];
    if (file !== undefined && file !== "") return await readSecretFile(file, what, s);
    const command = s.env[`${prefix}_PASSWORD_COMMAND`];
    if (command !== undefined && command !== "") return await readSecretCommand(command, what, s);
  }
  throw new Failure("config/invalid", `${what} is not given`, {
    hint: "Set CHATKEEP_PASSWORD_FILE (or CHATKEEP_PASSWORD), or password-file in the configuration.",
  });
}

/** Names of variables whose values must never be printed. */
const SECRET = /KEY|SECRET|PASS|TOKEN|CREDENTIAL|SIGNATURE|SAS/i;

/**
 * The variables of `env-file`, then those of `env`. What is secret among them is hidden from then on.
 * @param whose Whose credentials they are, for a message.
 * @throws Failure `config/invalid` when the file cannot be read.
 */
export async function readVariables(
  { env, "env-file": file }: Partial<Pick<RepositoryConfig, "env" | "env-file">>,
  whose: string,
  s: Surroundings,
): Promise<Record<string, string>> {
  const variables: Record<string, string> = {};
  if (file !== undefined) {
    try {
      Object.assign(variables, Object.fromEntries(readEnvFile(await readFile(resolve(s.cwd, file), "utf8")).values));
    } catch (cause) {
      throw new Failure(
        "config/invalid",
        `cannot read the credentials of ${whose} from '${file}': ${messageOf(cause)}`,
        { hint: "Put the file there, or run Chatkeep as the user that may read it.", cause },
      );
    }
  }
  Object.assign(variables, env);
  s.hide(Object.entries(variables).flatMap(([name, value]) => (SECRET.test(name) && value !== "" ? [value] : [])));
  return variables;
}
