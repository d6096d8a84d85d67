/**
 * After a key was changed or taken away: kits that carry its fingerprint, and lie where `init` and `kit` write them, are
 * written anew in their places. What was printed, or moved elsewhere, is a person's.
 */
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { formatInstant } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { formatRecoveryKit, isWithoutPassword, namesOnKit } from "../point/recovery-kit.ts";
import { formatRecoveryPage } from "../point/recovery-page.ts";
import { describeOnKit, kitFiles, KIT_STEM } from "./kit.ts";
import { prepareReplacement } from "./new-file.ts";
import type { OpenedRepository } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface RenewedKits {
  /** Files that were written anew. */
  files: string[];
  /** Why others, which do not fit any more, were not. */
  failure: Failure | undefined;
}

/** @param stale the fingerprint that fits no more. Never rejects for what stands in the way: the key was changed. */
export async function renewKits(
  { config, configPath }: Pick<OpenedRepository, "config" | "configPath">,
  stale: string,
  globals: Globals,
  s: Surroundings,
): Promise<RenewedKits> {
  const renewed: RenewedKits = { files: [], failure: undefined };
  if (config === undefined || configPath === undefined) return renewed;
  for (const stem of [KIT_STEM, ...config.repositories.map(({ name }) => `${KIT_STEM}-${name}`)]) {
    const { text, page } = kitFiles(dirname(configPath), stem);
    try {
      const [oldText, oldPage] = [await readIfThere(text), await readIfThere(page)];
      if (oldText?.includes(stale) !== true) continue;
      const kit = await describeAnew(oldText, { config, globals, s });
      await replace(text, formatRecoveryKit(kit));
      renewed.files.push(text);
      if (oldPage === undefined) continue;
      await replace(page, formatRecoveryPage(kit));
      renewed.files.push(page);
    } catch (error) {
      if (!isFailure(error) || error.code === "internal/bug" || s.signal.aborted) throw error;
      renewed.failure ??= error;
    }
  }
  return renewed;
}

async function readIfThere(path: string): Promise<string | undefined> {
  return await readFile(path, "utf8").catch(() => undefined);
}

/** The same repositories, with or without their passwords as before. */
async function describeAnew(
  text: string,
  { config, globals, s }: { config: NonNullable<OpenedRepository["config"]>; globals: Globals; s: Surroundings },
) {
  const { id, name } = config.installation;
  const findings: Parameters<typeof describeOnKit>[1]["findings"] = [];
  const names = namesOnKit(text);
  const repositories = [];
  for (const configured of config.repositories.filter((one) => names.includes(one.name))) {
    const options = { withPassword: !isWithoutPassword(text), globals, findings, s };
    repositories.push(await describeOnKit(configured, options));
  }
  const [first] = findings;
  // What the old kit says of the others is worth more than a new one without them.
  if (first !== undefined) throw new Failure("config/invalid", first.message, { hint: first.hint });
  return { installation: { id, name }, repositories, writtenAt: formatInstant(s.clock.now()) };
}

async function replace(path: string, text: string): Promise<void> {
  const replacement = await prepareReplacement(path, text);
  try {
    await replacement.commit();
  } finally {
    await replacement.abandon();
  }
}
