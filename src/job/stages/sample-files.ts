/** Some uploaded files of a restored database, asked for as a browser does, and compared with what the database says of them. */
import { createHash } from "node:crypto";
import { plural } from "../../base/bytes.ts";
import { messageOf } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { LIMITS } from "../../base/limits.ts";
import { blobPathOf } from "../../chatwoot/blob-url.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { connect } from "../../postgres/connect.ts";

interface BlobRow {
  id: string;
  key: string;
  filename: string;
  bytes: string;
  checksum: string | null;
  [key: string]: unknown;
}

export interface SampleOptions {
  /** The web process, without a path. */
  url: string;
  secretKeyBase: string;
  /** Keys of those that the restore point does not have. */
  missing: ReadonlySet<string>;
  signal: AbortSignal;
}

export interface SampledFiles {
  asked: number;
  /** Why one did not come as it should, by file. */
  failed: string[];
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const MOST_REDIRECTS = 5;
/** Of the list of blobs so many are looked at, so that enough are left beside those that are missing. */
const CANDIDATES = 200;

/** Asks for a few, from the oldest to the newest. */
export async function sampleFiles(address: ServerAddress, options: SampleOptions): Promise<SampledFiles> {
  const rows = (await readCandidates(address, options.signal)).filter(({ key }) => !options.missing.has(key));
  const chosen = evenly(rows, LIMITS.filesAskedFor);
  const failed: string[] = [];
  for (const row of chosen) {
    const why = await tryFile(row, options);
    if (why !== undefined) failed.push(`file ${row.id} (${row.filename}): ${why}`);
  }
  return { asked: chosen.length, failed };
}

async function readCandidates(address: ServerAddress, signal: AbortSignal): Promise<BlobRow[]> {
  await using connection = await connect(address, { signal });
  // Ids spread over the whole table, each found by the key's own index.
  return await connection.query<BlobRow>(
    `select distinct b.id::text, b.key, b.filename, b.byte_size::text as bytes, b.checksum, b.id as position
     from (select min(id) as first, max(id) as last from public.active_storage_blobs) r,
       pg_catalog.generate_series(0, ${CANDIDATES - 1}) n,
       lateral (select * from public.active_storage_blobs where id >= r.first + (r.last - r.first) * n / ${CANDIDATES - 1}
         order by id limit 1) b
     where b.byte_size <= ${LIMITS.fileAskedForBytes} order by b.id`,
  );
}

/** The first, the last, and some in between. Pure. */
function evenly<T>(items: readonly T[], count: number): T[] {
  if (items.length <= count) return [...items];
  const at = (index: number) => items[Math.round((index * (items.length - 1)) / (count - 1))];
  return Array.from({ length: count }, (_, index) => at(index)).filter((item) => item !== undefined);
}

/** @returns why it did not come as the database describes it. */
async function tryFile(row: BlobRow, options: SampleOptions): Promise<string | undefined> {
  const { id, filename, bytes, checksum } = row;
  const blob = { id: Number(id), filename };
  try {
    let content = await follow(blobPathOf(blob, options.secretKeyBase), options);
    // Chatwoot before 2.17 signs in another way.
    if (content === 404) content = await follow(blobPathOf(blob, options.secretKeyBase, "sha1"), options);
    if (typeof content === "number") return `the application answers with status ${content}`;
    if (content.length !== Number(bytes)) return `${content.length} bytes came, and ${bytes} are meant`;
    if (checksum === null || createHash("md5").update(content).digest("base64") === checksum) return undefined;
    return "its content is not what was uploaded";
  } catch (error) {
    options.signal.throwIfAborted();
    const cause: unknown = error instanceof Error ? error.cause : undefined;
    return messageOf(cause ?? error);
  }
}

/** The bytes at the end of all redirections, or the status that is none of success. */
async function follow(path: string, { url, signal }: SampleOptions): Promise<Buffer | number> {
  const base = url.replace(/\/+$/, "");
  let at = `${base}${path}`;
  for (let hop = 0; hop <= MOST_REDIRECTS; hop += 1) {
    const isOurs = at.startsWith(`${base}/`);
    const patience = AbortSignal.any([signal, AbortSignal.timeout(LIMITS.healthAnswerMs)]);
    const headers: Record<string, string> = isOurs ? { "x-forwarded-proto": "https" } : {};
    const response = await fetch(at, { redirect: "manual", signal: patience, headers });
    if (response.ok) return Buffer.from(await response.arrayBuffer());
    await response.body?.cancel();
    const location = response.headers.get("location");
    if (!REDIRECTS.has(response.status) || location === null) return response.status;
    const next = new URL(location, at);
    // The application names itself as the world knows it, which may not be how it is reached from here.
    at = next.pathname.startsWith("/rails/active_storage/") ? `${base}${next.pathname}${next.search}` : next.href;
  }
  throw new Error("it is redirected again and again");
}

/** What people are told of it. Pure. */
export function filesFinding({ asked, failed }: SampledFiles): Finding[] {
  const [first] = failed;
  if (first === undefined) return [];
  return [
    {
      kind: "files-not-served",
      level: "alarm",
      message: `of ${plural(asked, "uploaded file")} that were asked for through the application ${failed.length} did not come: ${first}`,
      discreet: `of ${plural(asked, "uploaded file")} that were asked for through the application ${failed.length} did not come`,
      hint: "Status 404 for all: SECRET_KEY_BASE, or the storage service, is another than it was; status 500: the web process cannot read the folder or bucket (owner, mode, credentials). Correct it, restart web and worker, and look at an attachment in a conversation.",
    },
  ];
}
