/** The list of files out of what stamps tell: the very list that the database gives when it is asked for all of it. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Client } from "pg";
import {
  countStorage,
  type FolderRow,
  listStorage,
  listStorageAtOnce,
  type Queries,
} from "../../src/job/list-storage.ts";
import type { StorageState } from "../../src/job/storage-state.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { isWhole } from "../harness/whole.ts";
import { take, type Taken } from "./captures.ts";

let server: TestServer;

before(async () => {
  server = await startPostgres();
});
after(async () => {
  await server.stop();
});

/** Eight ranges of 2^17 ids with a thousand files each, in 128 folders: every fourth lies in the second service. */
const TABLE = `
create table active_storage_blobs (id bigint primary key, key text, filename text, checksum text, byte_size bigint,
  service_name text, created_at timestamp(6));
insert into active_storage_blobs
  select n * 131, md5(n::text), 'file', md5('of' || n), n % 5000, case n % 4 when 0 then 'amazon' else 'local' end, now()
  from generate_series(1, 8000) n;
create table other (id bigint primary key, v text); insert into other values (1, 'x')`;

async function change(address: TestAddress, sql: string): Promise<void> {
  const client = new Client(address);
  await client.connect();
  await client.query(sql);
  await client.end();
}

/** What a parent of such a listing would have. */
function stateOf(folders: readonly FolderRow[]): StorageState {
  const state: StorageState = new Map();
  for (const { service, folder, count, bytes, withoutChecksum, hash } of folders) {
    const known = state.get(service) ?? { name: service, folders: new Map(), missing: new Map(), reasons: new Map() };
    known.folders.set(folder, { count, bytes, withoutChecksum, hash, tree: undefined });
    state.set(service, known);
  }
  return state;
}

interface Desk {
  address: TestAddress;
  parent: Taken;
  state: StorageState;
}

async function openDesk(name: string): Promise<Desk> {
  const address = await server.createDatabase(name);
  await change(address, TABLE);
  let state: StorageState = new Map();
  const alsoIn = async (snapshot: { connection: Queries }) => {
    state = stateOf((await listStorage(snapshot.connection)).folders);
  };
  return { address, parent: await take(address, undefined, { alsoIn }), state };
}

/** Both lists in one snapshot, and what the shorter way asked the database. */
async function listBoth({ address, parent, state }: Desk, known = state) {
  const asked: string[] = [];
  let shortly: FolderRow[] = [];
  let whole: FolderRow[] = [];
  await take(address, parent, {
    async alsoIn({ connection }, tables) {
      const [, compared] = [...(await tables)].find(([facts]) => facts.name === "active_storage_blobs") ?? [];
      const watched: Queries = {
        query: async (sql: string, values?: unknown[]) => {
          asked.push(sql);
          return await connection.query(sql, values);
        },
      };
      const rows = compared === undefined ? undefined : { compared, parent: known };
      // An empty state before would have every folder's files listed: here only folders are.
      shortly = (await listStorageAtOnce(watched, known, rows)).folders;
      whole = (await listStorage(connection)).folders;
    },
  });
  const amongSome = asked.filter((sql) => sql.includes("unnest($1")).length;
  const amongAll = asked.filter((sql) => sql.includes("from active_storage_blobs offset 0")).length;
  return { shortly, whole, amongSome, amongAll };
}

function shape({ service, folder, count }: FolderRow): string {
  return `${service} ${folder} ${count}`;
}

const CHANGES: Readonly<Record<string, { sql: string; isAll?: true; none?: true }>> = {
  nothing: { sql: "select 1", none: true },
  "a row of another table": { sql: "update other set v = 'y'", none: true },
  "a checksum": { sql: "update active_storage_blobs set checksum = 'other' where id = 131" },
  "a size in the last range": { sql: "update active_storage_blobs set byte_size = 1 where id = 131 * 8000" },
  "a deleted row": { sql: "delete from active_storage_blobs where id = 131 * 4000" },
  "a folder that is gone": { sql: "delete from active_storage_blobs where id between 131 * 4000 and 131 * 4100" },
  "a range that is gone": { sql: "delete from active_storage_blobs where id < 131072", none: true },
  "a service that is another": {
    sql: "update active_storage_blobs set service_name = 'google' where id between 131 * 100 and 131 * 140",
  },
  "new rows in the newest range and behind it": {
    sql: "insert into active_storage_blobs select n * 131, 'k' || n, 'f', null, 1, 'local', now() from generate_series(8001, 8100) n",
  },
  "all rows": { sql: "update active_storage_blobs set byte_size = byte_size + 1", isAll: true },
};

// Every second kind in the short run.
for (const [name, { sql, isAll, none }] of Object.entries(CHANGES).filter((_, at) => isWhole || at % 2 === 0)) {
  test(`the list is the same, and no longer than it must be, after ${name}`, async () => {
    const desk = await openDesk(`list_${Object.keys(CHANGES).indexOf(name)}`);
    await change(desk.address, sql);
    const { shortly, whole, amongSome, amongAll } = await listBoth(desk);
    assert.deepEqual(shortly, whole);
    assert.ok(whole.length > 0);
    assert.deepEqual([amongSome, amongAll], isAll === true ? [0, 1] : none === true ? [0, 0] : [1, 0]);
  });
}

test("what the parent does not know in full, or by hashes of another form, is asked for", async () => {
  const desk = await openDesk("unknown");
  const forget = (edit: (state: StorageState) => void) => {
    const state: StorageState = new Map(
      [...desk.state].map(([name, service]) => [name, { ...service, folders: new Map(service.folders) }]),
    );
    edit(state);
    return state;
  };
  const lacking = forget((state) => state.get("amazon")?.folders.delete("1"));
  const older = forget((state) => {
    const folder = state.get("local")?.folders.get("300");
    assert.ok(folder);
    state.get("local")?.folders.set("300", { ...folder, hash: "0f343b0931126a20f133d67c2b018a3b" });
  });
  for (const known of [lacking, older]) {
    const { shortly, whole, amongSome, amongAll } = await listBoth(desk, known);
    assert.deepEqual(shortly, whole);
    assert.deepEqual([amongSome, amongAll], [1, 0]);
  }
  const nothing = await listBoth(desk, new Map());
  assert.deepEqual(nothing.shortly, nothing.whole);
});

test("the look before the snapshot counts the newest folders, and takes the others to be as they were", async () => {
  const { address, state } = await openDesk("counted");
  await change(address, "delete from active_storage_blobs where id = 131");
  await change(address, "insert into active_storage_blobs values (131 * 8001, 'k', 'f', null, 1, 'local', now())");
  const client = new Client(address);
  await client.connect();
  const database: Queries = {
    query: async (sql: string, values?: unknown[]) => (await client.query(sql, values)).rows,
  };
  const whole = (await listStorage(database)).folders;
  const counted = await countStorage(database, state);
  const all = await countStorage(database, new Map());
  const blobs = await counted.blobs(counted.folders.at(-1) as FolderRow);
  await client.end();
  assert.deepEqual(all.folders.map(shape).toSorted(), whole.map(shape).toSorted());
  const differing = new Set(counted.folders.map(shape)).symmetricDifference(new Set(whole.map(shape)));
  // The deleted row is in an old folder: the list in the snapshot sees that.
  assert.deepEqual([...differing].toSorted(), ["local 0 5", "local 0 6"]);
  const changed = counted.folders.filter(({ hash }) => hash === "");
  assert.deepEqual(
    changed.map(({ folder }) => folder),
    [String(Math.floor((131 * 8001) / 1024))],
  );
  assert.equal(blobs.at(-1)?.id, 131n * 8001n);
});

test("a full capture tells nothing of what is unchanged", async () => {
  const { address, parent } = await openDesk("full");
  let told: number | undefined;
  await take(address, parent, { full: true, alsoIn: async (_, tables) => void (told = (await tables).size) });
  assert.equal(told, 0);
});
