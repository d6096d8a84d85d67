/**
 * Puts the write-ahead log together again, from spans and then from the journal, as the files that a server's
 * `restore_command` takes. What two of them have must be the same bytes; what one of them cannot give another may.
 */
import { copyFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Failure, isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { silent } from "../../base/progress.ts";
import type { TreeNode } from "../../format/node.ts";
import type { Repository } from "../../repo/repository.ts";
import { openRestorer } from "../../repo/restore-tree.ts";
import { makeFolders } from "../../system/folders.ts";
import { openTemporaryFolder } from "../../system/temporary.ts";
import { historyName, type Lsn, segmentStart } from "../../wal/lsn.ts";
import type { RefusedObject } from "./journal.ts";
import { chooseSegments, isHistory, readSpans, restoreFiles, sizeOf } from "./span-files.ts";
import { coveredObjects, listContinuous, objectsWithoutSpan } from "./list.ts";
import { settleVersions, type ToSettle } from "./versions.ts";
import { Leg, type WalToRead } from "./wal-leg.ts";

/** The log as it can be had: files are made when they are asked for, so that no more of them lie on a disk than are needed. */
export interface OpenedWal extends AsyncDisposable {
  /** Of segments as `pg_wal` has them, in order, and of histories of timelines. */
  readonly names: readonly string[];
  /** Up to where each leg is there without a gap. */
  readonly reached: readonly Lsn[];
  /** What lay in the way and could not be used: damaged, or another's. The log is whole without it. */
  readonly refused: readonly RefusedObject[];
  /** Makes the file at a path where nothing is yet; zeros behind the last byte of the log. @throws Failure `repo/damaged`. */
  fetch(name: string, path: string): Promise<void>;
}

/**
 * Where something lacks, and the list of what there is may be an old one, it is listed anew: a watch that stored a span since took what
 * that holds out of the journal, and an index that was loaded before does not know it.
 * @param folder A private one, which is made where it is not there: what spans do not have whole is put together in it.
 * @throws Failure `moment/outside` where a leg has a gap before its end; `repo/damaged` where the repository has two versions of
 * one stretch; of the store.
 */
export async function openWal(
  repository: Repository,
  wanted: WalToRead,
  folder: string,
  { signal }: { signal: AbortSignal },
): Promise<OpenedWal> {
  let [from, listed] = [repository, wanted];
  for (let lists = 1; ; lists += 1) {
    const place = join(folder, `list-${lists}`);
    const trouble: Trouble = { refused: [], gone: 0 };
    const isLast = () =>
      lists === LIMITS.journalLists || (trouble.gone === 0 && (lists > 1 || trouble.refused.length === 0));
    try {
      const opened = await openListed(from, listed, place, { trouble, signal });
      if (isLast() || isWhole(opened, listed)) return opened;
      await opened[Symbol.asyncDispose]();
    } catch (error) {
      if (isLast() || !(isFailure(error, "moment/outside") || isFailure(error, "repo/damaged"))) throw error;
    }
    await rm(place, { recursive: true, force: true });
    from = repository.anew();
    const { spans, journal, histories } = await listContinuous(from, wanted.installation, { signal });
    listed = { ...wanted, spans, journal: journal.objects, histories };
  }
}

function isWhole({ reached }: OpenedWal, { legs }: WalToRead): boolean {
  return legs.every(({ to }, at) => to !== undefined && (reached[at] ?? 0n) >= to);
}

/** What lay in the way. */
interface Trouble {
  readonly refused: RefusedObject[];
  /** Objects of the journal that were gone when they were read. */
  gone: number;
}

async function openListed(
  repository: Repository,
  wanted: WalToRead,
  folder: string,
  { trouble, signal }: { trouble: Trouble; signal: AbortSignal },
): Promise<OpenedWal> {
  await makeFolders(folder, 0o700);
  const { refused } = trouble;
  const found = await readSpans(repository, wanted, { signal, refused });
  const nodes = new Map<string, TreeNode[]>();
  for (const { span, node } of found) nodes.set(span, [...(nodes.get(span) ?? []), node]);
  const settled = await settleVersions(repository, { ...versionsIn(wanted), nodes }, { signal });
  const histories = new Map(found.filter(isHistory).map((file) => [file.node.name, file]));
  const isSmall = found.reduce((sum, { node }) => sum + sizeOf(node), 0) <= LIMITS.readHereBytes;
  const restorer = await openRestorer(repository, folder, { signal, progress: silent, fileMode: 0o600, isSmall });
  try {
    const legs: Leg[] = [];
    const reached: Lsn[] = [];
    for (const leg of wanted.legs) {
      const files = found.filter((file) => file.timeline === leg.timeline && !isHistory(file));
      const assembled = new Leg({ wanted, leg, folder, restorer, settled });
      const own = files.filter(({ start }) => assembled.wants(start));
      await assembled.take(chooseSegments(own, settled), refused);
      await assembled.fill(repository, { signal, refused, onGone: () => (trouble.gone += 1) });
      const to = await assembled.finish(refused);
      reached.push(to);
      legs.push(assembled);
      if (leg.to !== undefined && to < leg.to) break;
    }
    const own = await writeHistories(folder, legs, histories);
    const names = [...histories.keys(), ...own, ...legs.flatMap((leg) => leg.names)];
    return {
      names,
      reached,
      refused,
      async fetch(name, path) {
        if (own.includes(name) || legs.some((leg) => leg.isAssembled(name)))
          return await copyFile(join(folder, name), path);
        const file = histories.get(name) ?? legs.map((leg) => leg.stored(name)).find((each) => each !== undefined);
        if (file === undefined) throw new Failure("moment/outside", `the log has no file '${name}'`);
        const problems: RefusedObject[] = [];
        await restoreFiles(restorer, [file], problems);
        const [problem] = problems;
        if (problem !== undefined) throw new Failure("repo/damaged", `'${name}' cannot be read: ${problem.reason}`);
        await moveFile(join(folder, name), path);
      },
      [Symbol.asyncDispose]: async () => await restorer[Symbol.asyncDispose](),
    };
  } catch (error) {
    await restorer[Symbol.asyncDispose]();
    throw error;
  }
}

/** What of the wanted log is to be looked at for being there twice. */
function versionsIn(wanted: WalToRead): ToSettle {
  const { systemId, segmentBytes, major, histories = [], spans, journal, legs } = wanted;
  const young = objectsWithoutSpan(journal, spans);
  return {
    systemId,
    segmentBytes,
    major,
    histories,
    spans,
    objects: [...young, ...coveredObjects(journal, young)],
    wants: (timeline, start) =>
      legs.some(
        (leg) =>
          leg.timeline === timeline &&
          start >= segmentStart(leg.from, segmentBytes) &&
          (leg.to === undefined || start < leg.to),
      ),
  };
}

/** Those that only the journal has yet, into the folder. */
async function writeHistories(
  folder: string,
  legs: readonly Leg[],
  histories: ReadonlyMap<string, unknown>,
): Promise<string[]> {
  const names: string[] = [];
  for (const { timeline, history } of legs) {
    const name = historyName(timeline);
    if (history === undefined || histories.has(name)) continue;
    await writeFile(join(folder, name), history, { mode: 0o600 });
    names.push(name);
  }
  return names;
}

async function moveFile(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
    await copyFile(from, to);
    await rm(from);
  }
}

/** All of it at once, into a folder that is new or empty. */
export async function readWal(
  repository: Repository,
  wanted: WalToRead,
  folder: string,
  { signal }: { signal: AbortSignal },
): Promise<Pick<OpenedWal, "names" | "reached" | "refused">> {
  await using work = await openTemporaryFolder("chatkeep-wal");
  await using opened = await openWal(repository, wanted, work.path, { signal });
  await makeFolders(folder, 0o700);
  for (const name of opened.names) await opened.fetch(name, join(folder, name));
  return opened;
}
