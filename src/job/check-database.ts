/** The parts of a proof that compare the restored database with the restore point, to the bit. */
import { createHash } from "node:crypto";
import { listSome, plural } from "../base/bytes.ts";
import { type ChunkId, parseChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Progress } from "../base/progress.ts";
import { CUTTER_VERSION, type Manifest } from "../point/manifest.ts";
import { SCHEMA_SQL, tableFolder } from "../point/layout.ts";
import type { ProofCheck } from "../point/proof.ts";
import { parseRanges } from "../point/ranges.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { readTables } from "../postgres/catalogue.ts";
import { asNotValid, type UnheldKey } from "../postgres/load-foreign-keys.ts";
import { shownName } from "../postgres/names.ts";
import type { ClientPrograms } from "../postgres/programs.ts";
import { planTable, type RangePlan, type TablePlan } from "../postgres/range-plan.ts";
import { openRangeReader, type RangeReader } from "../postgres/range-reader.ts";
import { dumpSchema, normalizeSchema } from "../postgres/schema-dump.ts";
import { readSequences } from "../postgres/sequences.ts";
import { compareSchemas, countObjects, parseSchemaObjects, type SchemaObject } from "../postgres/schema-objects.ts";
import { openSnapshot } from "../postgres/snapshot.ts";
import { openUpTo } from "../postgres/spare-sessions.ts";
import { addTables } from "./build-point.ts";
import { checkLargeObjects } from "./large-objects.ts";
import type { SavedTable } from "./read-rows.ts";
import { PointFolder } from "./point-tree.ts";
import type { PointReader } from "./point-reader.ts";
import { lackingText, unheldFindings } from "./unreadable.ts";

interface CheckOptions {
  progress: Progress;
  signal: AbortSignal;
}

function idOf(bytes: Uint8Array): ChunkId {
  return parseChunkId(createHash("sha256").update(bytes).digest("hex"));
}

/**
 * Reads the restored database back with the same ranges. Every range must have the same rows and SHA-256, and with
 * the same cutter the tree of the data the same id: content addressing makes that a comparison of every row's bits.
 */
export async function checkData(
  reader: PointReader,
  address: ServerAddress,
  options: CheckOptions,
): Promise<ProofCheck[]> {
  const manifest = await reader.manifest();
  const tables = await readBack(manifest, address, options);
  const wrong: string[] = [];
  let rows = 0;
  let ranges = 0;
  for (const { entry, ranges: found } of tables) {
    const folder = tableFolder(entry.schema, entry.name);
    const expected = parseRanges(await reader.readText(`ranges/database/${folder}.json`));
    const byBucket = new Map(found.map((range) => [range.bucket, range]));
    for (const range of expected) {
      const back = byBucket.get(range.bucket);
      byBucket.delete(range.bucket);
      const isSame = back?.sha256 === range.sha256 && back.rows === range.rows && back.bytes === range.bytes;
      if (!isSame) wrong.push(`${entry.schema}.${entry.name} range ${range.bucket}`);
      rows += range.rows;
      ranges += 1;
    }
    for (const bucket of byBucket.keys())
      wrong.push(`${entry.schema}.${entry.name} range ${bucket} (not in the point)`);
  }
  const checks: ProofCheck[] = [
    {
      name: "rows",
      ok: wrong.length === 0 && tables.length === manifest.tables.length,
      detail:
        wrong.length === 0
          ? `${plural(rows, "row")} in ${plural(ranges, "range")} of ${plural(tables.length, "table")}: every SHA-256 equal${lackingText(manifest)}${viewsText(manifest)}`
          : `${plural(wrong.length, "range")} differ: ${wrong.slice(0, 3).join(", ")}`,
    },
  ];
  if (manifest.cutter === CUTTER_VERSION) checks.push(await checkTree(reader, tables));
  return [...checks, ...(await checkLargeObjects(reader, address, options))];
}

/** What a view shows of chance, of the time or of a sequence is another thing each time. */
function viewsText({ filledViews }: Manifest): string {
  if (filledViews.length === 0) return "";
  const views = plural(filledViews.length, "materialized view");
  return `; the content of ${views} is made anew each time, and not compared: ${listSome(filledViews.map(shownName))}`;
}

async function checkTree(reader: PointReader, tables: SavedTable[]): Promise<ProofCheck> {
  const database = new PointFolder();
  addTables(tables, database);
  const expected = await reader.folderTree("database/data");
  // Nothing is written: a tree's id is the hash of its bytes.
  const found = database.isEmpty ? undefined : await database.folder("data").store(async (bytes) => idOf(bytes));
  return {
    name: "data-tree",
    ok: found === expected,
    detail:
      found === expected
        ? `tree ${(found ?? "(no rows)").slice(0, 16)} is equal`
        : "the restored data makes another tree",
  };
}

async function readBack(manifest: Manifest, address: ServerAddress, options: CheckOptions): Promise<SavedTable[]> {
  const { signal } = options;
  await using snapshot = await openSnapshot(address, { signal });
  const { tables: facts } = await readTables(snapshot.connection);
  const found: SavedTable[] = [];
  const work: { plan: TablePlan; range: RangePlan; into: SavedTable }[] = [];
  for (const entry of manifest.tables) {
    const own = facts.find((table) => table.schema === entry.schema && table.name === entry.name);
    if (own === undefined) continue;
    const plan = await planTable(snapshot.connection, own, entry);
    const into: SavedTable = { entry, ranges: [] };
    found.push(into);
    for (const range of plan.ranges) work.push({ plan, range, into });
  }
  const readers = await openUpTo(
    LIMITS.copyConnections,
    async (connectBy) => await openRangeReader(address, { signal, connectBy }),
  );
  await Promise.all(readers.map(async (reader) => await readSome(reader, snapshot.id, work, options)));
  return found;
}

/** One session's share: takes the next range until none is left. */
async function readSome(
  reader: RangeReader,
  snapshotId: string,
  work: { plan: TablePlan; range: RangePlan; into: SavedTable }[],
  { progress }: CheckOptions,
): Promise<void> {
  try {
    for (let next = work.pop(); next !== undefined; next = work.pop()) {
      const chunks: ChunkId[] = [];
      const digest = await reader.readRange(snapshotId, next.plan, next.range, async (chunk) => {
        chunks.push(idOf(chunk));
      });
      if (digest.rows > 0) next.into.ranges.push({ bucket: next.range.bucket, ...digest, chunks });
      progress.advance(digest.bytes);
    }
  } finally {
    await reader.close();
  }
}

interface SchemaCheckOptions {
  serverMajor: number;
  /** Statements that the restored database lacks because the server refused them. */
  refused?: readonly string[];
  /** Foreign keys that do not hold there, because the point lacks rows. */
  unheldKeys?: readonly UnheldKey[];
  signal: AbortSignal;
}

/** `(ARRAY['a'::character varying, 'b'::character varying])::text[]`, and one literal of it. */
const LITERAL = "E?'(?:[^']|'')*'::character varying";
const CAST_ARRAY = new RegExp(`\\(ARRAY\\[(${LITERAL}(?:, ${LITERAL})*)\\]\\)::text\\[\\]`, "g");

/**
 * `column IN ('a', 'b')` of a varchar is written by the server as one cast of the array. When that is read back it becomes a cast of
 * each element, and stays so: the same condition in other words.
 */
function spellCasts(schema: string): string {
  return schema.replaceAll(CAST_ARRAY, (_, items: string) => {
    return `ARRAY[${items.replaceAll(new RegExp(LITERAL, "g"), (item) => `(${item})::text`)}]`;
  });
}

/**
 * Where tables lie on the disk is the target's own affair, what was refused cannot be there, and what the server itself
 * words otherwise at the second time is no difference. Pure.
 */
export function comparableSchema(schema: string, refused: readonly string[]): string {
  const kept = spellCasts(withoutStatements(schema, refused));
  return refused.length === 0 ? kept : kept.replaceAll(/^(?:--.*)?\n/gm, "");
}

function withoutStatements(schema: string, refused: readonly string[]): string {
  const text = schema.replaceAll(/^SET default_tablespace = .*;\n\n|(?<=^-- Name: .*); Tablespace: .*$/gm, "");
  return refused.reduce((rest, statement) => rest.replace(statement, ""), text);
}

/** As {@link comparableSchema}, object by object: of one that was refused nothing is left. Pure. */
export function comparableObjects(schema: string, refused: readonly string[]): SchemaObject[] {
  const objects = parseSchemaObjects(spellCasts(withoutStatements(schema, refused)));
  return refused.length === 0 ? objects : objects.filter(({ definition }) => definition !== "");
}

/**
 * The schema as text must be equal, where the server and the client programs are of the majors that it was saved with.
 * Others may say the same in other words: then every object of the catalogue is compared.
 */
export async function checkSchema(
  reader: PointReader,
  address: ServerAddress,
  programs: ClientPrograms,
  { serverMajor, refused: left = [], unheldKeys = [], signal }: SchemaCheckOptions,
): Promise<ProofCheck> {
  // Earlier versions saved what is left out now.
  const whole = normalizeSchema(await reader.readText(`database/${SCHEMA_SQL}`));
  const refused = [...left, ...unheldKeys.filter(({ isLeftOut }) => isLeftOut).map(({ definition }) => definition)];
  const saved = unheldKeys.reduce(
    (text, { definition, isLeftOut }) => (isLeftOut ? text : text.replace(definition, () => asNotValid(definition))),
    whole,
  );
  const dumped = await dumpSchema(address, programs, { signal });
  const [expected, sql] = [comparableSchema(saved, refused), comparableSchema(dumped.sql, refused)];
  const but = [
    ...(left.length === 0 ? [] : [notMade(left.length)]),
    ...unheldFindings(unheldKeys).map(({ message }) => message),
  ];
  const shortcomings = but.map((text) => `; ${text}`).join("");
  if (sql === expected) {
    const lines = plural(expected.split("\n").length, "line");
    return { name: "schema", ok: true, detail: `${lines} of schema equal${shortcomings}` };
  }
  const { major, clientMajor } = (await reader.manifest()).server;
  if (serverMajor === major && programs.major === clientMajor) {
    return { name: "schema", ok: false, detail: `the schema differs: ${firstDifference(expected, sql)}` };
  }
  const objects = comparableObjects(saved, refused);
  const differences = compareSchemas(objects, comparableObjects(dumped.sql, refused));
  const why = `saved with PostgreSQL ${major} and pg_dump ${clientMajor}, compared with ${serverMajor} and ${programs.major}, so by its objects and not by its text`;
  const isSame = differences.length === 0 && objects.length > 0;
  const outcome = isSame
    ? `${countObjects(objects)} say the same`
    : listSome(differences.map(({ object, how }) => `${object} is ${how}`));
  return { name: "schema", ok: isSame, detail: `${outcome} (${why})${shortcomings}` };
}

function notMade(count: number): string {
  return `the server refused ${plural(count, "statement")}, without which the database is whole`;
}

function firstDifference(expected: string, found: string): string {
  const [a, b] = [expected.split("\n"), found.split("\n")];
  const at = a.findIndex((line, index) => line !== b[index]);
  const line = at < 0 ? a.length : at;
  return `line ${line + 1} is '${(b[line] ?? "(nothing)").slice(0, 80)}' instead of '${(a[line] ?? "(nothing)").slice(0, 80)}'`;
}

/** Every sequence that was saved is there and stands where it stood, the free-standing ones of each account too. */
export async function checkSequences(
  manifest: Manifest,
  connection: Parameters<typeof readSequences>[0],
): Promise<ProofCheck> {
  const found = new Map((await readSequences(connection)).map((s) => [`${s.schema}.${s.name}`, s]));
  const wrong = manifest.sequences.filter((expected) => {
    const own = found.get(`${expected.schema}.${expected.name}`);
    return own?.lastValue !== expected.lastValue || own.isCalled !== expected.isCalled;
  });
  return {
    name: "sequences",
    ok: wrong.length === 0,
    detail:
      wrong.length === 0
        ? `${plural(manifest.sequences.length, "sequence")} at the saved value`
        : `${plural(wrong.length, "sequence")} elsewhere: ${wrong
            .slice(0, 3)
            .map((s) => s.name)
            .join(", ")}`,
  };
}
