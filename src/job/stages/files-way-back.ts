/**
 * Takes uploaded files out of the services of a place again, where the database that is in force does not list them. Chatwoot runs
 * with them as well, so what a bucket refuses is told and keeps nobody waiting.
 */
import { plural } from "../../base/bytes.ts";
import { Failure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Connection } from "../../postgres/connect.ts";
import { connectIfThere } from "../../postgres/connect-if-there.ts";
import { listKept } from "../../postgres/kept-databases.ts";
import type { BlobTarget } from "../../source/target.ts";
import { FileLedger, type LedgerLine } from "./file-ledger.ts";
import { leftFinding, mayBeTold } from "./left-over.ts";
import { openMove } from "./plan-files.ts";
import type { StageRecord, StageResult, UndoContext, UndoPlan } from "./stage.ts";
import { type KeptFiles, sameMoves } from "./storage-moves.ts";
import { type ListedFile, type UndoneFiles, undoFiles } from "./undo-files.ts";

type Kept = Pick<StageRecord<KeptFiles>, "kept">;

/** Looks whether each service that something was put into lets it be taken out again. */
export async function planFilesBack(context: UndoContext, { kept }: Kept): Promise<UndoPlan> {
  const findings: Finding[] = [];
  for (const { service, lines } of await filledServices(context, kept)) {
    const failure = await whyRefused(service, context);
    if (failure === undefined) continue;
    const what = plural(
      new Set(lines.flatMap((line) => (line.act === "folder" ? [] : [line.key]))).size,
      "uploaded file",
    );
    findings.push(
      left(context, `${what} of the restore would stay in storage '${service}': ${failure.message}`, failure),
    );
  }
  return { blockers: [], findings };
}

/** What was put into each service, by its name. */
async function filledServices(
  { folder }: UndoContext,
  kept: KeptFiles | undefined,
): Promise<{ service: string; lines: LedgerLine[] }[]> {
  const recorded = await new FileLedger(folder).read();
  const services = new Set((kept?.moves ?? []).map(({ to }) => to));
  return [...services].flatMap((service) => {
    const lines = recorded.filter((line) => line.service === service);
    return lines.length === 0 ? [] : [{ service, lines }];
  });
}

async function openService(service: string, context: UndoContext): Promise<BlobTarget> {
  const [move] = sameMoves([{ from: service, to: service }], context.place);
  if (move === undefined) throw new TypeError(`no way to '${service}'`);
  return await openMove(move, context, { patienceMs: LIMITS.retryUndoMs });
}

async function whyRefused(service: string, context: UndoContext): Promise<Failure | undefined> {
  try {
    const target = await openService(service, context);
    try {
      await target.probe(context);
      return undefined;
    } finally {
      await target.close();
    }
  } catch (error) {
    if (!mayBeTold(error, context)) throw error;
    return error;
  }
}

function left({ folder }: UndoContext, message: string, { code, hint = "" }: Failure): Finding {
  const again = `They do no harm there. ${hint} 'chatkeep restore --discard-previous' tries again; each is named in ${folder}/files.jsonl.`;
  return leftFinding("files", new Failure(code, message, { hint: again.replaceAll("  ", " ") }));
}

/** Takes them out, as far as the services let it; called again it tries what was left. */
export async function takeFilesBack(context: UndoContext, record: StageRecord<KeptFiles>): Promise<StageResult> {
  const { kept } = record;
  if (kept === undefined) return { lines: [], findings: [] };
  const lines: string[] = [];
  const findings: Finding[] = [];
  await using listing = new Listing(context);
  for (const { service, lines: recorded } of await filledServices(context, kept)) {
    try {
      const target = await openService(service, context);
      try {
        const { folder, signal } = context;
        const listed = async (keys: readonly string[]) => await listing.of(service, keys);
        const done = await undoFiles(recorded, { target, folder, listed, signal });
        lines.push(doneLine(done, target));
        if (done.failure !== undefined) {
          const message = `${plural(done.left, "uploaded file")} of the restore stay in ${target.shown}: ${done.failure.message}`;
          findings.push(left(context, message, done.failure));
        }
      } finally {
        await target.close();
      }
    } catch (error) {
      if (!mayBeTold(error, context)) throw error;
      findings.push(
        left(context, `uploaded files of the restore stay in storage '${service}': ${error.message}`, error),
      );
    }
  }
  if (findings.length > 0 || kept.isLeft === true) await record.keep({ ...kept, isLeft: findings.length > 0 });
  return { lines, findings };
}

function doneLine({ removed, putBack, stay }: UndoneFiles, { shown }: BlobTarget): string {
  const parts = [`${plural(removed, "uploaded file")} taken out of ${shown} again`];
  if (putBack > 0)
    parts.push(`${plural(putBack, "file")} that ${putBack === 1 ? "was" : "were"} there before put back`);
  if (stay > 0)
    parts.push(
      `${plural(stay, "file")} ${stay === 1 ? "stays" : "stay"}, for the database lists ${stay === 1 ? "it" : "them"}`,
    );
  return parts.join(", ");
}

/** @throws Failure where what an undo has left still cannot be taken out. */
export async function planFilesDiscard(context: UndoContext, { kept }: Kept): Promise<void> {
  if (kept?.isLeft !== true) return;
  for (const { service } of await filledServices(context, kept)) {
    const failure = await whyRefused(service, context);
    if (failure !== undefined) throw stillLeft(service, context, failure);
  }
}

/** What an undo has left is taken out now. @throws Failure where it still cannot be. */
export async function discardFiles(context: UndoContext, record: StageRecord<KeptFiles>): Promise<StageResult> {
  if (record.kept?.isLeft !== true) return { lines: [], findings: [] };
  const result = await takeFilesBack(context, record);
  const [finding] = result.findings;
  if (finding === undefined) return result;
  throw new Failure("target/unsuitable", finding.message, { hint: finding.hint });
}

function stillLeft(service: string, { folder }: UndoContext, { code, message, hint = "" }: Failure): Failure {
  return new Failure(code, `files that a rollback left in storage '${service}' still cannot be taken out: ${message}`, {
    hint: `${hint} Where they may stay for good, remove ${folder} by hand: it says which they are.`.trimStart(),
  });
}

/** Asks the database that is in force. A session is opened with the first question. */
class Listing implements AsyncDisposable {
  readonly #context: UndoContext;
  #connection: Connection | undefined;
  #hasTable = true;
  /** There was no database before the restore, and so none wants a file that the restore put there. */
  #isNone = false;

  constructor(context: UndoContext) {
    this.#context = context;
  }

  /** @throws Failure where nobody can say it: what may be wanted is not removed. */
  async of(service: string, keys: readonly string[]): Promise<Map<string, ListedFile>> {
    if (this.#isNone) return new Map();
    const connection = (this.#connection ??= await this.#open());
    if (connection === undefined || !this.#hasTable) return new Map();
    const rows = await connection.query<{ key: string; bytes: string; md5: string | null }>(
      `select key, byte_size::text as bytes, nullif(checksum, '') as md5
       from public.active_storage_blobs where service_name = $1 and key = any($2::text[])`,
      [service, keys],
    );
    return new Map(rows.map(({ key, bytes, md5 }) => [key, { bytes: Number(bytes), md5 }]));
  }

  async #open(): Promise<Connection | undefined> {
    const { address } = this.#context.place;
    const connection = await connectIfThere(address, this.#context);
    if (connection === undefined) {
      const kept = await listKept(address, this.#context);
      this.#isNone = kept.some(({ hadNone }) => hadNone === true);
      if (this.#isNone) return undefined;
      throw new Failure("target/unsuitable", `there is no database '${address.database}' that says which are wanted`);
    }
    const [row] = await connection.query<{ there: boolean }>(
      "select to_regclass('public.active_storage_blobs') is not null as there",
    );
    this.#hasTable = row?.there === true;
    return connection;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection?.[Symbol.asyncDispose]();
  }
}
