/** A desk whose uploaded files lie in several storage services, and what lies in each: for restores that move them. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFile } from "node:fs/promises";
import { basename } from "node:path";
import { onDatabase } from "../../src/demo/database.ts";
import type { Finding } from "../../src/base/findings.ts";
import type { StageName } from "../../src/job/stages/stage.ts";
import { readFolder } from "../harness/tree.ts";
import { stageIs, type WholeDesk } from "./whole-desk.ts";

/** MD5 of each object, by its key. */
export type Objects = ReadonlyMap<string, string>;

export function md5(bytes: Uint8Array): string {
  return createHash("md5").update(bytes).digest("base64");
}

export interface BlobRow {
  key: string;
  service: string;
  checksum: string;
}

export async function blobRows({ desk }: WholeDesk): Promise<BlobRow[]> {
  return await onDatabase(desk.installation.database, async (client) => {
    const { rows } = await client.query<BlobRow>(
      "select key, service_name as service, checksum from active_storage_blobs order by key",
    );
    return rows;
  });
}

/** As Active Storage has written down what was uploaded, of those rows that name the service. */
export async function listed(whole: WholeDesk, service: string): Promise<Objects> {
  const rows = await blobRows(whole);
  return new Map(rows.filter((row) => row.service === service).map(({ key, checksum }) => [key, checksum]));
}

/** Keys of the files that lie in the folder. */
export async function localKeys({ desk }: WholeDesk): Promise<string[]> {
  return Object.keys(await readFolder(desk.installation.storageRoot))
    .map((path) => basename(path))
    .toSorted();
}

export async function setEnvironment({ desk }: WholeDesk, values: Readonly<Record<string, string>>): Promise<void> {
  const lines = Object.entries(values).map(([name, value]) => `${name}=${value}\n`);
  await appendFile(desk.installation.envFile, `\n${lines.join("")}`);
}

/** Runs a verb to its end, whatever of notes and warnings it has to tell; an alarm or a failure ends the test. */
export async function done({ desk }: WholeDesk, args: readonly string[]): Promise<Record<string, unknown>> {
  const summary = await desk.summary(args, 0).catch(async (error: unknown) => {
    assert.match(String(error), /ended with 3/);
    return JSON.parse(String(error).trimEnd().split("\n").at(-1) ?? "{}") as Record<string, unknown>;
  });
  const alarms = ((summary["findings"] ?? []) as Finding[]).filter(({ level }) => level === "alarm");
  assert.deepEqual(alarms, [], args.join(" "));
  return summary;
}

/** Begins a restore, kills it as soon as that stage has begun, and goes on with it to its end. */
export async function killedAndResumed(
  whole: WholeDesk,
  stage: StageName,
  args: readonly string[],
): Promise<Record<string, unknown>> {
  assert.ok(await whole.killWhen(args, stageIs(stage, "begun")), `killed at '${stage}': ${args.join(" ")}`);
  return await done(whole, ["restore", "--resume", "--yes", "--outbound", "allow"]);
}
