/** The recovery kit's files: text, and a page to print. They are readable by their owner only and never written over. */
import { dirname, join, resolve } from "node:path";
import { formatInstant } from "../base/clock.ts";
import { isFailure, messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { KitSummary } from "../job/summaries.ts";
import { fingerprintOf, formatRecoveryKit, type KitRepository, type RecoveryKit } from "../point/recovery-kit.ts";
import { formatRecoveryPage } from "../point/recovery-page.ts";
import { loadConfig, type RepositoryConfig } from "./config.ts";
import { requireNew, writeNew } from "./new-file.ts";
import { encodeQr } from "./qr.ts";
import { readPassword } from "./secrets.ts";
import { openChosenRepository } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface KitFiles {
  text: string;
  page: string;
}

export const KIT_STEM = "chatkeep-recovery-kit";

export function kitFiles(folder: string, stem: string): KitFiles {
  return { text: join(folder, `${stem}.txt`), page: join(folder, `${stem}.html`) };
}

/** @throws Failure `config/invalid` when one of them is there already, or could not be written. */
export async function requireNewKit(folder: string, stem = KIT_STEM): Promise<KitFiles> {
  const files = kitFiles(folder, stem);
  await requireNew(files.text);
  await requireNew(files.page);
  return files;
}

export async function writeKit(files: KitFiles, kit: RecoveryKit): Promise<void> {
  await writeNew(files.text, formatRecoveryKit(kit));
  await writeNew(files.page, formatRecoveryPage(kit));
}

export function kitPassword(password: string): NonNullable<KitRepository["password"]> {
  return { text: password, qr: encodeQr(password) };
}

export interface KitFlags {
  /** The folder that the files go to; the configuration's own by default. */
  out?: string | undefined;
  withPassword: boolean;
}

/** `kit`: every configured repository on one page. One that cannot be opened is on it too, and is a finding. */
export async function runKit(globals: Globals, flags: KitFlags, s: Surroundings): Promise<KitSummary> {
  const { config, path } = await loadConfig(globals, s);
  const files = await requireNewKit(flags.out === undefined ? dirname(path) : resolve(s.cwd, flags.out));
  const findings: Finding[] = [];
  const repositories: KitRepository[] = [];
  for (const repository of config.repositories)
    repositories.push(await describeOnKit(repository, { withPassword: flags.withPassword, globals, findings, s }));
  const { id, name } = config.installation;
  await writeKit(files, { installation: { id, name }, repositories, writtenAt: formatInstant(s.clock.now()) });
  return {
    type: "summary",
    verb: "kit",
    ...files,
    withPassword: flags.withPassword,
    repositories: repositories.map(({ name: own, location, opened }) => ({
      name: own,
      location,
      fingerprint: opened === undefined ? null : fingerprintOf(opened.id, opened.keyId),
    })),
    findings,
  };
}

interface Describing {
  withPassword: boolean;
  globals: Globals;
  findings: Finding[];
  s: Surroundings;
}

/** One that cannot be opened is a finding. */
export async function describeOnKit(
  configured: RepositoryConfig,
  { withPassword, globals, findings, s }: Describing,
): Promise<KitRepository> {
  const password = await readPassword(configured, s);
  const { name } = configured;
  try {
    const { repository } = await openChosenRepository({ ...globals, repository: name }, s);
    const { config, keyId } = repository;
    return {
      name,
      location: withoutLogin(configured.location),
      opened: { id: config.id, keyId },
      password: withPassword ? kitPassword(password) : undefined,
    };
  } catch (error) {
    if (!isFailure(error) || error.code === "run/cancelled") throw error;
    findings.push({
      kind: "kit-repository",
      level: "warning",
      message: `repository '${name}' could not be opened, so its fingerprint and password are not on the kit: ${messageOf(error)}`,
      hint: error.hint ?? "Write the kit again when it can be opened.",
    });
    return { name, location: withoutLogin(configured.location), opened: undefined, password: undefined };
  }
}

/** User and password in an address are no part of where a repository lies. */
export function withoutLogin(location: string): string {
  return location.replace(/(:\/\/)[^/?#]*@/, "$1");
}
