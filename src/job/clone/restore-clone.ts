/** A restore beside the installation that makes a copy for staging: what of each part becomes another, and what stands in the way. */
import { randomInt } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { formatCount, plural } from "../../base/bytes.ts";
import { Failure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import type { Progress } from "../../base/progress.ts";
import { blobPath } from "../../chatwoot/blobs.ts";
import {
  type CloneEnvironment,
  cloneEnvironment,
  formatCloneEnvironment,
  sharedWith,
} from "../../chatwoot/clone-environment.ts";
import type { Environment } from "../../chatwoot/environment.ts";
import type { Scanner } from "../../chatwoot/originals.ts";
import { parseEnvironment, SAVED_ENVIRONMENT } from "../../point/environment.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { connect } from "../../postgres/connect.ts";
import type { PointReader } from "../point-reader.ts";
import { anonymise } from "./anonymise.ts";
import { neutralise } from "./neutralise.ts";
import { moveLinks } from "./move-links.ts";
import { originalsInFolder } from "./scan.ts";

/** What a restore is asked for that makes a copy. */
export interface CloneChoice {
  readonly frontendUrl: string;
  readonly anonymise: boolean;
}

/** Below the folder of the configuration. */
export const CLONE_ENVIRONMENT = "clone.env";

/** For a plan: what becomes of the rows. */
export function describeClone(clone: CloneChoice): string {
  return clone.anonymise ? "made a clone in which nobody can be recognised" : "made a clone that reaches nobody";
}

interface CloneOptions {
  readonly clone: CloneChoice;
  /** What the copy's database is called when it is finished. */
  readonly database: ServerAddress;
  /** The folder of the restore; undefined where only the database is restored. */
  readonly to: string | undefined;
  readonly hasStorage: boolean;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface ClonedDatabase {
  /** For the folder: with secrets of its own. Undefined where the point has no environment. */
  readonly environment: CloneEnvironment | undefined;
  readonly files: { readonly blobs: number; readonly bytes: number } | undefined;
  readonly next: string[];
  readonly findings: Finding[];
}

/** Undefined where the point has none. @throws Failure `point/invalid`. */
async function savedEnvironment(reader: PointReader): Promise<Environment | undefined> {
  const path = `config/${SAVED_ENVIRONMENT}`;
  if ((await reader.find(path)) === undefined) return undefined;
  return parseEnvironment(await reader.readText(path));
}

/** What stands in the way of a copy. Changes nothing. */
export async function cloneBlockers(reader: PointReader, { frontendUrl }: CloneChoice): Promise<Finding[]> {
  const shared = sharedWith((await savedEnvironment(reader)) ?? new Map(), new Map(), frontendUrl);
  return shared.map((message) => sharedFinding(message));
}

export function sharedFinding(message: string): Finding {
  const own = "A clone has everything of its own, so that nothing it does reaches what it is a copy of.";
  const hint = /^(?:SECRET_|ACTIVE_)/.test(message) ? `${own} Give this place another in its environment.` : own;
  return { kind: "clone-shares", level: "alarm", message, hint };
}

/**
 * Makes what was just loaded a copy's database, and gives it an environment of its own.
 * @throws Failure: the database then still holds what was loaded, and says so.
 */
export async function cloneDatabase(
  reader: PointReader,
  address: ServerAddress,
  options: CloneOptions,
): Promise<ClonedDatabase> {
  try {
    return await makeClone(reader, address, options);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const hint = `It is no clone: '${address.database}' may still reach people, and tell of them. Drop it. ${error.hint ?? ""}`;
    throw new Failure(error.code, error.message, { hint: hint.trim(), cause: error });
  }
}

async function makeClone(reader: PointReader, address: ServerAddress, options: CloneOptions): Promise<ClonedDatabase> {
  const { clone, progress } = options;
  const saved = await savedEnvironment(reader);
  const { host, port, user, password, database } = options.database;
  const own = { host, port, user, password, database };
  const environment =
    saved === undefined
      ? undefined
      : cloneEnvironment(saved, { frontendUrl: clone.frontendUrl, database: own, secret });
  if (clone.anonymise) return { environment, ...(await makeAnonymous(address, options)) };
  progress.stage("taking out what reaches anybody");
  if (saved !== undefined && environment !== undefined) {
    await moveLinks(address, { from: saved, to: environment.environment }, options);
  }
  await storeLocally(address, options);
  const { findings } = await neutralise(address, options);
  return {
    environment,
    files: undefined,
    findings,
    next: ["people sign in with their own passwords, without a second factor"],
  };
}

async function makeAnonymous(
  address: ServerAddress,
  options: CloneOptions,
): Promise<Omit<ClonedDatabase, "environment">> {
  const { to, hasStorage, progress, signal } = options;
  const folder = to === undefined || !hasStorage ? undefined : join(to, "storage");
  let bytes = 0;
  const write = async (key: string, pieces: Iterable<Buffer>) => {
    if (folder === undefined) return;
    const path = blobPath(folder, key);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, count(pieces), { flag: "wx" });
  };
  function* count(pieces: Iterable<Buffer>) {
    for (const piece of pieces) {
      bytes += piece.length;
      yield piece;
    }
  }
  const made = await anonymise(address, { files: { service: "local", write }, progress, signal });
  if (folder !== undefined) await assertNobodyIn(folder, made.scanner, signal);
  const next = [
    `${formatCount(made.lookedFor)} names, addresses and beginnings of texts were looked for and found nowhere`,
    ...(made.administrator === undefined
      ? []
      : [`sign in as ${made.administrator}, with that administrator's own password`]),
  ];
  const files = folder === undefined ? undefined : { blobs: made.files, bytes };
  return { files, findings: made.findings, next };
}

async function assertNobodyIn(folder: string, scanner: Scanner, signal: AbortSignal): Promise<void> {
  await mkdir(folder, { recursive: true });
  const [first, ...others] = await originalsInFolder(folder, scanner, { signal });
  if (first === undefined) return;
  const message = `names or addresses of real people are still in ${plural(others.length + 1, "file")}, among them ${first.where}`;
  throw new Failure("database/failed", message, { hint: "Nobody may get this copy: remove the folder." });
}

/** Where production's bucket is no longer known, nothing can be purged from it. */
async function storeLocally(address: ServerAddress, { signal }: { signal: AbortSignal }): Promise<void> {
  await using connection = await connect(address, { signal });
  await connection.query("update public.active_storage_blobs set service_name = 'local' where service_name <> 'local'");
}

/** Writes the copy's environment into the folder, and nothing else of the configuration: that is the other installation's. */
export async function writeCloneEnvironment(folder: string, environment: CloneEnvironment): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(join(folder, CLONE_ENVIRONMENT), formatCloneEnvironment(environment), { flag: "wx", mode: 0o600 });
}

const LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** Chatwoot takes letters and digits only. */
function secret(length: number): string {
  return Array.from({ length }, () => LETTERS[randomInt(LETTERS.length)]).join("");
}

export function cloneNext(hasEnvironment: boolean): string[] {
  return [
    ...(hasEnvironment
      ? [
          "config/clone.env is the clone's environment: give it a Redis of its own (REDIS_URL) before anything is started",
        ]
      : []),
    "move the restored storage folder into the clone's place, owned by the user that runs Chatwoot",
    "start the web process only; a clone's worker stays off",
  ];
}
