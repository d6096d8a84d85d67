/**
 * Reads the live files of every storage service, or a sample of them, and compares them with what the database says: so
 * that what is lost or altered in silence is known before the only good copy is forgotten.
 */
import { createHash } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { mapConcurrent } from "../base/concurrent.ts";
import { Budget } from "../base/budget.ts";
import { isFailure } from "../base/errors.ts";
import { type Finding, sortFindings } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { Progress } from "../base/progress.ts";
import { isSafeBlobKey } from "../chatwoot/blobs.ts";
import type { Installation } from "../installation/installation.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { connect } from "../postgres/connect.ts";
import { refuseSharedSessions } from "../postgres/pooler.ts";
import type { StoredFile } from "../repo/store-file.ts";
import { openSource } from "../source/open-source.ts";
import type { BlobSource } from "../source/source.ts";
import { problemOf } from "./fetch-blobs.ts";
import { outageFinding, storageFindings } from "./findings.ts";
import { inspectChatwoot } from "./inspect-chatwoot.ts";
import { type Queries, tellPurged } from "./list-storage.ts";
import type { Parent } from "./parent.ts";
import { savedPath } from "./saved-blob.ts";
import { liveFiles, type LiveFile, type LiveService, listServices, sampleFiles } from "./live-files.ts";
import { Sources, type StorageSettings } from "./sources.ts";
import type { StorageState } from "./storage-state.ts";
import type { ScrubbedProblem, ScrubbedService, ScrubSummary } from "./scrub-summary.ts";

export interface ScrubOptions {
  address: ServerAddress;
  installation: Installation;
  storageSettings: StorageSettings;
  /** Every file, not a sample. */
  all: boolean;
  /** The newest restore point of this installation, where one can be had, and what stood in the way. */
  newest: () => Promise<{ point?: Parent; findings: Finding[] }>;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** @throws Failure when the database cannot be read, or is none of Chatwoot's. */
export async function scrub(options: ScrubOptions): Promise<ScrubSummary> {
  const { address, clock, signal } = options;
  const startedMs = clock.monotonic();
  await using connection = await connect(address, { signal });
  await refuseSharedSessions(connection, { signal });
  const chatwoot = await inspectChatwoot(connection, address, { signal });
  if (chatwoot.failure !== undefined) throw chatwoot.failure;
  await using sources = new Sources({ ...options, settings: options.storageSettings });
  const services = await listServices(connection);
  const run = new Scrubbing(sources, options);
  await run.read(connection, services);
  await tellPurged(connection, run.state);
  const known = await options.newest();
  const problems = await describeProblems(run, known.point);
  const findings = [
    ...run.outages(),
    ...storageFindings(run.state, known.point?.storage, () => undefined),
    ...known.findings,
  ];
  return {
    type: "summary",
    verb: "scrub",
    all: options.all,
    seconds: (clock.monotonic() - startedMs) / 1000,
    services: services.map((service) => run.summaryOf(service, problems)),
    point: known.point?.point.id ?? null,
    problems,
    findings: sortFindings(findings),
  };
}

/** One reading of files, and what came of it. */
class Scrubbing {
  readonly state: StorageState = new Map();
  readonly files = new Map<string, LiveFile>();
  /** Files of services that could not be had: that is told once, not for each file. */
  readonly #unread = new Map<string, number>();
  readonly #read = new Map<string, { files: number; bytes: number }>();
  readonly #sources: Sources;
  readonly #options: ScrubOptions;
  readonly #memory = new Budget(2 * LIMITS.objectBytesInFlight);

  constructor(sources: Sources, options: ScrubOptions) {
    this.#sources = sources;
    this.#options = options;
  }

  async read(database: Queries, services: readonly LiveService[]): Promise<void> {
    const { all, progress, signal } = this.#options;
    const samples = all ? undefined : await sampleFiles(database, services);
    const total =
      samples?.reduce((sum, { bytes }) => sum + bytes, 0) ?? services.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { name } of services) {
      this.state.set(name, { name, folders: new Map(), missing: new Map(), reasons: new Map() });
      this.#read.set(name, { files: 0, bytes: 0 });
    }
    progress.stage("reading uploaded files", { total, unit: "bytes" });
    const files = samples ?? liveFiles(database);
    await mapConcurrent(files, LIMITS.objectsInFlight, async (file) => await this.#check(file), { signal });
  }

  async #check(file: LiveFile): Promise<void> {
    const { signal } = this.#options;
    const held = Math.min(Math.max(file.bytes, 1), LIMITS.chunkMaxBytes);
    const found = await this.#memory.use(held, signal, async () => await this.#fetch(file));
    const counted = this.#read.get(file.service);
    if (found.kind === "stored" && counted !== undefined) {
      counted.files += 1;
      counted.bytes += found.size;
    }
    if (found.kind === "unavailable") {
      this.#unread.set(file.service, (this.#unread.get(file.service) ?? 0) + 1);
      return;
    }
    const reason = problemOf(file, found);
    if (reason === undefined) return;
    const { id, key, filename, bytes } = file;
    const service = this.state.get(file.service);
    service?.missing.set(id, { id, key, filename, bytes, reason, since: "" });
    if (found.kind === "unreadable") service?.reasons.set(id, found.reason);
    this.files.set(id, file);
  }

  async #fetch(file: LiveFile): Promise<StoredFile> {
    const place = await this.#sources.find(file.service);
    if (place.kind === "out") return { kind: "unavailable", reason: place.outage.why, hint: place.outage.hint };
    const { spec } = place;
    if (spec.kind !== "local") return await this.#readFrom(await this.#sources.open(spec), file);
    if (!isSafeBlobKey(file.key)) return { kind: "unreadable", reason: "its key is not a file name" };
    let first: StoredFile = { kind: "missing" };
    // What is not right in one folder is looked for in the next, as a backup does.
    for (const root of spec.roots) {
      const found = await this.#readFrom(await openSource({ ...spec, roots: [root] }), file);
      if (problemOf(file, found) === undefined) return found;
      if (first.kind === "missing") first = found;
    }
    return first;
  }

  async #readFrom(source: BlobSource, file: LiveFile): Promise<StoredFile> {
    try {
      return await this.#digest(source, file);
    } catch (error) {
      this.#options.signal.throwIfAborted();
      if (!isFailure(error) || error.code === "internal/bug") throw error;
      if (source.outage !== undefined) {
        const { message: why, hint } = source.outage;
        this.#sources.lose(file.service, { why, hint });
        return { kind: "unavailable", reason: why, hint };
      }
      return error.code === "store/not-found" ? { kind: "missing" } : { kind: "unreadable", reason: error.message };
    }
  }

  async #digest(source: BlobSource, { key, bytes }: LiveFile): Promise<StoredFile> {
    const { progress, signal } = this.#options;
    const md5 = createHash("md5");
    let size = 0;
    for await (const piece of source.read(key, { expectedBytes: bytes, signal })) {
      md5.update(piece);
      size += piece.length;
      progress.advance(piece.length);
    }
    return { kind: "stored", size, md5: md5.digest("base64"), content: [] };
  }

  outages(): Finding[] {
    return [...this.#unread].flatMap(([service, files]) => {
      const outage = this.#sources.outageOf(service);
      return outage === undefined ? [] : [outageFinding(service, files, outage, "not read")];
    });
  }

  summaryOf({ name, files, bytes }: LiveService, problems: readonly ScrubbedProblem[]): ScrubbedService {
    const read = this.#read.get(name) ?? { files: 0, bytes: 0 };
    const own = problems.filter(({ service }) => service === name).length;
    return { name, files, bytes, filesRead: read.files, bytesRead: read.bytes, problems: own };
  }
}

/** What is wrong, file by file; where the point has a right copy, the state says so, too. */
async function describeProblems({ state, files }: Scrubbing, point: Parent | undefined): Promise<ScrubbedProblem[]> {
  const problems: ScrubbedProblem[] = [];
  for (const { name, missing, reasons } of state.values()) {
    for (const [id, blob] of missing) {
      const file = files.get(id);
      if (blob.reason === "purged" || file === undefined) {
        missing.delete(id);
        continue;
      }
      const saved = point === undefined ? undefined : await savedPath(point, file);
      const before = point?.storage.get(name)?.missing.get(id);
      const isKnown = before?.reason === blob.reason;
      missing.set(id, { ...blob, since: before?.since ?? "", ...(saved === undefined ? {} : { kept: true }) });
      problems.push({
        service: name,
        id,
        key: blob.key,
        filename: blob.filename,
        bytes: blob.bytes,
        reason: blob.reason,
        why: reasons.get(id) ?? null,
        since: before?.since ?? null,
        isNew: !isKnown,
        saved: saved ?? null,
      });
    }
  }
  return problems;
}
