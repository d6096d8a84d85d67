/** A place for one stage alone: a database with some of Chatwoot's tables, and what a stage is handed. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { silent } from "../../../src/base/progress.ts";
import { redisOf } from "../../../src/chatwoot/environment.ts";
import { readCatalogue } from "../../../src/demo/catalogue.ts";
import { onDatabase } from "../../../src/demo/database.ts";
import { schemaBeforeRows } from "../../../src/demo/schema.ts";
import type { Installation } from "../../../src/installation/installation.ts";
import type { PointReader } from "../../../src/job/point-reader.ts";
import type { Stage, StageContext, StageRecord, StageResult } from "../../../src/job/stages/stage.ts";
import type { Manifest } from "../../../src/point/manifest.ts";
import type { TestAddress, TestServer } from "../../harness/postgres.ts";

/** Statements that make these tables as Chatwoot 4.15.1 has them, with the triggers that number. */
function tablesOf(names: ReadonlySet<string>): string[] {
  const all = readCatalogue();
  const tables = new Map([...all.tables].filter(([name]) => names.has(name)));
  const sequences = all.sequences.filter(({ ownedBy }) => names.has(ownedBy.split(".")[0] ?? ""));
  return schemaBeforeRows({ ...all, tables, sequences, indexes: [] }, { extensions: new Set() });
}

/** Makes a database with the tables that have triggers, and these. */
export async function makeDatabase(
  server: TestServer,
  name: string,
  others: readonly string[] = [],
): Promise<TestAddress> {
  const address = await server.createDatabase(name);
  const tables = new Set(["accounts", "conversations", "campaigns", ...others]);
  await onDatabase(address, async (client) => await client.query(tablesOf(tables).join(";\n")));
  return address;
}

export interface ContextOptions {
  address: TestAddress;
  /** The restore's own, whose last name is its id. */
  folder: string;
  environment?: Readonly<Record<string, string>>;
  options?: Partial<StageContext["options"]>;
  others?: Partial<Omit<StageContext, "options">>;
}

/** What a stage is handed; it has no point to read. */
export async function contextOf({
  address,
  folder,
  environment = {},
  options,
  others,
}: ContextOptions): Promise<StageContext> {
  await mkdir(folder, { recursive: true });
  const values = new Map(Object.entries(environment));
  const redis = redisOf(values);
  const installation = { environment: values, ...(redis === undefined ? {} : { redis }) } as unknown as Installation;
  return {
    place: { installation, address: { ...address } },
    folder: join(folder),
    fresh: { ...address, database: `${address.database}_restoring` },
    redact: (value) => value,
    clock: systemClock,
    progress: silent,
    signal: new AbortController().signal,
    reader: {} as unknown as PointReader,
    manifest: {} as unknown as Manifest,
    saved: undefined,
    options: {
      withRoles: false,
      storage: undefined,
      migrate: false,
      outbound: "hold",
      clone: undefined,
      ...options,
    },
    ...others,
  };
}

/** What a stage keeps, over its calls. `onKeep` may fail, as a kill does, behind the write. */
export class TestRecord<T> implements StageRecord<T> {
  kept: T | undefined;
  onKeep: () => void = () => {};

  async keep(value: T): Promise<void> {
    // As on disk.
    this.kept = JSON.parse(JSON.stringify(value)) as T;
    this.onKeep();
    await Promise.resolve();
  }
}

/** All lines of a plan's or a result's, as one text. */
export async function planned<T>(stage: Stage<T>, context: StageContext): Promise<string> {
  return (await stage.plan(context)).lines.join("\n");
}

export function said({ lines, findings, next = [] }: StageResult): string {
  return [...lines, ...findings.map(({ message }) => message), ...next].join("\n");
}
