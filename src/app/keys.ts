/** `key`: who can open a repository. The configured password file follows when the key in use is changed. */
import { rm } from "node:fs/promises";
import { hostname, userInfo } from "node:os";
import { dirname, resolve } from "node:path";
import { Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { addKeyVerb, changePasswordVerb, listKeysVerb, removeKeyVerb } from "../job/keys.ts";
import type { KeySummary } from "../job/summaries.ts";
import { prepareReplacement, requireNew, writeNew, type Replacement } from "./new-file.ts";
import { readNewPassword, type NewPassword, type NewPasswordFlags } from "./new-password.ts";
import { renewKits } from "./renew-kits.ts";
import { openChosenRepository, type OpenedRepository } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface KeyFlags extends NewPasswordFlags {
  /** What `remove` takes away. */
  key?: string | undefined;
  /** Labels of the new key. */
  user?: string | undefined;
  host?: string | undefined;
}

const CHANGING = ["newPasswordFile", "newPasswordCommand", "generate", "user", "host"] as const;

export async function runKey(
  globals: Globals,
  action: KeySummary["action"],
  flags: KeyFlags,
  s: Surroundings,
): Promise<KeySummary> {
  checkFlags(action, flags);
  const opened = await openChosenRepository(globals, s);
  const options = { repository: opened.repository, repositoryName: opened.name, clock: s.clock, signal: s.signal };
  if (action === "list") return await listKeysVerb(options);
  if (action === "remove" || action === "passwd") {
    const changing =
      action === "remove" ? removeKeyVerb({ ...options, key: flags.key ?? "" }) : passwd(opened, flags, s);
    return await withKits(await changing, opened, globals, s);
  }
  const password = await readNewPassword(flags, s);
  if (password.keepIn !== undefined) await requireNew(password.keepIn);
  const adding = addKeyVerb({
    ...options,
    password: password.value,
    username: flags.user ?? userInfo().username,
    hostname: flags.host ?? hostname(),
    beforeWriting: async () => await keep(password),
  });
  const summary = await adding.catch(async (error: unknown) => await forget(password, error));
  return { ...summary, files: password.keepIn === undefined ? [] : [password.keepIn] };
}

function checkFlags(action: KeySummary["action"], flags: KeyFlags): void {
  if ((flags.key !== undefined) !== (action === "remove")) {
    throw new Failure(
      "usage/invalid",
      action === "remove" ? "which key is to be removed?" : `'key ${action}' takes no KEY`,
      { hint: action === "remove" ? "'chatkeep key list' shows them." : "See 'chatkeep help key'." },
    );
  }
  const given = CHANGING.find((name) => flags[name] !== undefined);
  if (given === undefined || action === "add" || action === "passwd") return;
  throw new Failure("usage/invalid", `'key ${action}' makes no new key, so it takes no password and no label`, {
    hint: "See 'chatkeep help key'.",
  });
}

/** A password that was made is kept before it opens anything: a key without its password is of no use. */
async function keep({ value, keepIn }: NewPassword): Promise<void> {
  if (keepIn !== undefined) await writeNew(keepIn, `${value}\n`);
}

/** A refusal comes before the first key is written: then nobody will want the password that was made for it. */
async function forget({ keepIn }: NewPassword, error: unknown): Promise<never> {
  if (keepIn !== undefined && isFailure(error, "usage/invalid")) await rm(keepIn, { force: true });
  throw error;
}

/** Kits that do not fit any more are written anew where they lie; what cannot be is a note as the printed ones are. */
async function withKits(
  summary: KeySummary,
  opened: OpenedRepository,
  globals: Globals,
  s: Surroundings,
): Promise<KeySummary> {
  if (summary.staleKit === null) return summary;
  const { files, failure } = await renewKits(opened, summary.staleKit, globals, s);
  const findings = summary.findings.map((finding): Finding => {
    if (finding.kind !== "kit-stale") return finding;
    if (failure !== undefined) {
      const message = `${finding.message}; the one beside the configuration could not be written anew: ${failure.message}`;
      return { ...finding, level: "warning", message };
    }
    if (files.length === 0) return finding;
    const hint = `The new one lies in ${dirname(files[0] ?? "")}: print it, delete its files, and destroy the old paper.`;
    return { ...finding, hint };
  });
  return { ...summary, renewedKits: files, findings };
}

async function passwd(opened: OpenedRepository, flags: KeyFlags, s: Surroundings): Promise<KeySummary> {
  const { repository, name } = opened;
  const kept = passwordFileOf(opened, s);
  const password = await readNewPassword(flags, s);
  const isKeptThere = password.keepIn !== undefined && password.keepIn === kept;
  if (password.keepIn !== undefined && !isKeptThere) await requireNew(password.keepIn);
  let replacement: Replacement | undefined;
  try {
    const summary = await changePasswordVerb({
      repository,
      repositoryName: name,
      clock: s.clock,
      signal: s.signal,
      password: password.value,
      username: flags.user,
      hostname: flags.host,
      beforeWriting: async () => {
        if (!isKeptThere) await keep(password);
        if (kept !== undefined) replacement = await prepareReplacement(kept, `${password.value}\n`);
      },
      onBoth: async () => await replacement?.commit(),
    });
    const files = [password.keepIn, kept].filter((file) => file !== undefined);
    return { ...summary, files: [...new Set(files)] };
  } finally {
    await replacement?.abandon();
  }
}

/**
 * The file that the configuration reads the password from: it must follow, or the next backup stands before a shut door.
 * @throws Failure `usage/invalid` where the password comes from a place that we cannot change.
 */
function passwordFileOf({ config, name }: OpenedRepository, s: Surroundings): string | undefined {
  const configured = config?.repositories.find((repository) => repository.name === name);
  const file = configured?.["password-file"];
  if (file !== undefined) return resolve(s.cwd, file);
  if (configured?.["password-command"] === undefined && configured?.password === undefined) return undefined;
  throw new Failure(
    "usage/invalid",
    `the password of repository '${name}' comes from where Chatkeep cannot change it`,
    {
      hint: "Add a key with 'chatkeep key add', put its password where the configuration reads it, then remove the old key.",
    },
  );
}
