/**
 * Tables that a migration works on: each has the same number of rows in every committed state, all of one
 * generation, and another table says in the same transaction which generation that is. So whoever reads them empty,
 * half or at two moments is found out.
 */
import type { Client } from "pg";
import type { PointReader } from "../../src/job/point-reader.ts";
import { savedRows } from "./saved-point.ts";

export const ROWS = 200;
const TABLES = ["busy_truncated", "busy_altered", "busy_vacuumed", "busy_recreated"] as const;
type BusyTable = (typeof TABLES)[number];

function create(table: string, generation: number): string {
  return `CREATE TABLE ${table} (id bigint PRIMARY KEY, generation int NOT NULL, filler text NOT NULL);
    ${fill(table, generation)}`;
}

function fill(table: string, generation: number): string {
  return `INSERT INTO ${table} SELECT n, ${generation}, repeat(md5(n::text), 10) FROM generate_series(1, ${ROWS}) n`;
}

export async function createBusyTables(client: Client): Promise<void> {
  await client.query(`BEGIN;
    CREATE TABLE busy_states (name text PRIMARY KEY, generation int NOT NULL);
    ${TABLES.map((table) => `${create(table, 0)}; INSERT INTO busy_states VALUES ('${table}', 0);`).join("\n")}
    COMMIT`);
}

/** What a migration does to a table, by its kind; ends with the table in the next generation. */
function work(table: BusyTable, next: number): string {
  switch (table) {
    case "busy_truncated":
      return `TRUNCATE ${table}; ${fill(table, next)}`;
    case "busy_altered":
      return `ALTER TABLE ${table} ALTER generation TYPE ${next % 2 === 0 ? "int" : "bigint"} USING ${next}`;
    case "busy_vacuumed":
      return `UPDATE ${table} SET generation = ${next}`;
    case "busy_recreated":
      return `DROP TABLE ${table}; ${create(table, next)}`;
    default:
      throw table satisfies never;
  }
}

/** Takes every table to the next generation, each in a transaction of its own; VACUUM FULL has to be alone. */
export async function changeBusyTables(client: Client, next: number): Promise<void> {
  for (const table of TABLES) {
    await client.query(`BEGIN; ${work(table, next)};
      UPDATE busy_states SET generation = ${next} WHERE name = '${table}'; COMMIT`);
    if (table === "busy_vacuumed") await client.query(`VACUUM FULL ${table}`);
  }
}

/** What is wrong with the busy tables of a point, as sentences; none when each is whole and of the one generation. */
export async function faultsOf(point: PointReader): Promise<string[]> {
  const faults: string[] = [];
  const states = new Map((await savedRows(point, "busy_states"))?.map((row) => [row["name"], row["generation"]]));
  for (const table of TABLES) {
    const rows = await savedRows(point, table);
    const generations = [...new Set(rows?.map((row) => row["generation"]))];
    const committed = states.get(table);
    if (rows?.length !== ROWS) faults.push(`${table} has ${rows?.length ?? "no"} rows of ${ROWS}`);
    else if (generations.length !== 1) faults.push(`${table} mixes the generations ${generations.join()}`);
    else if (generations[0] !== committed) faults.push(`${table} is of ${generations[0]}, committed was ${committed}`);
  }
  return faults;
}
