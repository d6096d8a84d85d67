/** Brings a physical base back into a folder. */
import { Failure } from "../../base/errors.ts";
import { listSome } from "../../base/bytes.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Progress } from "../../base/progress.ts";
import { type BaseFacts, parseBaseFacts } from "../../point/base-facts.ts";
import { BASE } from "../../point/continuous.ts";
import type { RecordPlace } from "../../point/layout.ts";
import { parseWalFacts, type WalFacts } from "../../point/wal-facts.ts";
import { WAL } from "../../point/continuous.ts";
import type { ListedSnapshot, Repository } from "../../repo/repository.ts";
import { restoreTree } from "../../repo/restore-tree.ts";
import { BASE_DATA, BASE_MANIFEST } from "./save-base.ts";

interface CallOptions {
  signal: AbortSignal;
}

/** @throws Failure `point/invalid`, `repo/damaged`. */
export async function readBaseFacts(
  repository: Repository,
  listed: Pick<ListedSnapshot, "snapshot">,
  options: CallOptions,
): Promise<BaseFacts> {
  return parseBaseFacts(await readText(repository, BASE, listed, options));
}

/** @throws Failure `point/invalid`, `repo/damaged`. */
export async function readWalFacts(
  repository: Repository,
  listed: Pick<ListedSnapshot, "snapshot">,
  options: CallOptions,
): Promise<WalFacts> {
  return parseWalFacts(await readText(repository, WAL, listed, options));
}

async function readText(
  repository: Repository,
  place: RecordPlace,
  { snapshot }: Pick<ListedSnapshot, "snapshot">,
  options: CallOptions,
): Promise<string> {
  const top = await repository.readTree(snapshot.tree, options);
  const folder = top.find(({ name }) => name === place.folder)?.subtree;
  const files = folder === undefined ? [] : await repository.readTree(folder, options);
  const file = files.find(({ name }) => name === place.file);
  if (file === undefined) {
    throw new Failure("point/invalid", `a snapshot with the tag ${place.tag} has no ${place.file}`, {
      hint: "Somebody made it, or changed it, with another program: name another moment.",
    });
  }
  const chunks = [];
  for (const id of file.content ?? []) chunks.push(await repository.readChunk("data", id, options));
  return Buffer.concat(chunks).toString("utf8");
}

/**
 * Writes the base's files, and PostgreSQL's own `backup_manifest` beside them, into a folder that is new or empty. Every chunk
 * is compared with its checksum as it is read.
 * @returns what `base.json` says, and how many bytes were written.
 * @throws Failure `repo/damaged` where a file cannot be read: a base that lacks one is no base; `target/unsuitable`,
 * `store/full`, of the store.
 */
export async function readBase(
  repository: Repository,
  listed: Pick<ListedSnapshot, "id" | "snapshot">,
  folder: string,
  { signal, progress }: CallOptions & { progress: Progress },
): Promise<{ readonly facts: BaseFacts; readonly bytes: number }> {
  const facts = await readBaseFacts(repository, listed, { signal });
  const data = `${BASE.folder}/${BASE_DATA}`;
  const { bytes, problems } = await restoreTree(repository, listed.snapshot.tree, folder, {
    signal,
    progress,
    isSmall: facts.base.bytes <= LIMITS.readHereBytes,
    place: (path) => {
      if (path.startsWith(`${data}/`)) return path.slice(data.length + 1);
      return path === `${BASE.folder}/${BASE_MANIFEST}` ? BASE_MANIFEST : undefined;
    },
  });
  if (problems.length > 0) {
    const shown = problems.map(({ path, reason }) => `${path}: ${reason}`);
    throw new Failure("repo/damaged", `the base ${listed.id.slice(0, 8)} cannot be read whole: ${listSome(shown, 3)}`, {
      hint: "An earlier base may serve the same moment, with more of the log to replay; 'chatkeep verify --read-data' says what else is touched.",
    });
  }
  return { facts, bytes };
}
