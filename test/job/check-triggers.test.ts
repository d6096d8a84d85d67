/** What a proof says of triggers, and of the sequences that number conversations. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { AccountCounts } from "../../src/base/account-counts.ts";
import { compareTriggers, type SavedTriggers, sequenceFindings } from "../../src/job/check-triggers.ts";
import { decodeArchive } from "../../src/postgres/archive.ts";
import { connect } from "../../src/postgres/connect.ts";
import { findPrograms } from "../../src/postgres/programs.ts";
import { dumpSchema } from "../../src/postgres/schema-dump.ts";
import { readSequences } from "../../src/postgres/sequences.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";

const signal = new AbortController().signal;
let server: TestServer;
let address: TestAddress;

const CHATWOOT = `
  create table accounts (id serial primary key, name text);
  create function numbers() returns trigger language plpgsql as $$ begin
    execute format('create sequence conv_dpid_seq_%s', NEW.id); execute format('create sequence camp_dpid_seq_%s', NEW.id); return null; end $$;
  create trigger numbers after insert on accounts for each row execute function numbers();
  insert into accounts (name) values ('one'), ('two')`;

/** Beside a trigger of people's own: what no point holds, what is no trigger, and what another entry makes. */
const AROUND = `
  create extension pg_trgm;
  create table of_extension (id int); alter extension pg_trgm add table of_extension;
  create trigger of_extension after insert on of_extension for each row execute function numbers();
  create function makes_triggers() returns void language plpgsql as $$ begin
create trigger late after insert on accounts for each row execute function numbers();
CREATE TRIGGER late AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION numbers();
  end $$;
  create function is_checked() returns trigger language plpgsql as $$ begin return null; end $$;
  create table parted (id int) partition by range (id);
  create table parted_1 partition of parted for values from (1) to (9);
  create table parted_9 partition of parted for values from (9) to (19);
  create trigger parted after insert on parted for each row execute function is_checked();
  alter table parted_9 disable trigger parted;
  create constraint trigger late after insert on accounts deferrable for each row execute function is_checked();
  create view seen as select * from accounts;
  create trigger seen instead of insert on seen for each row execute function is_checked()`;

before(async () => {
  server = await startPostgres();
  address = await server.createDatabase("checked");
  for (const sql of [CHATWOOT, AROUND]) await server.query(sql, "checked");
});
after(async () => {
  await server.stop();
});

async function saved(): Promise<SavedTriggers> {
  await using connection = await connect(address, { signal });
  const { custom, sql } = await dumpSchema(address, await findPrograms(server.major, { signal }), { signal });
  return { archive: decodeArchive(custom), sequences: await readSequences(connection), sql };
}

async function compared(with_: SavedTriggers): Promise<{ ok: boolean; detail: string }> {
  await using connection = await connect(address, { signal });
  return await compareTriggers(with_, connection);
}

function counted(account: string | null, name: string | null): AccountCounts {
  return { account, name, counts: {} };
}

test("triggers are counted as the saved schema makes them: none of an extension's, none that a function's text names", async () => {
  const point = await saved();
  assert.deepEqual(await compared(point), {
    name: "triggers",
    ok: true,
    detail: "4 triggers in place, and the sequences of every account",
  });
  await server.query("alter table accounts rename to accounts_aside; drop trigger seen on seen", "checked");
  try {
    assert.deepEqual(await compared(point), {
      name: "triggers",
      ok: false,
      detail: "3 triggers instead of 4",
    });
  } finally {
    await server.query(
      "alter table accounts_aside rename to accounts; create trigger seen instead of insert on seen for each row execute function is_checked()",
      "checked",
    );
  }
});

test("an account that lacked its sequences when it was saved is told by backup and proof, and is no failed proof", async () => {
  await server.query("drop sequence camp_dpid_seq_2", "checked");
  const { archive, sequences, sql } = await saved();
  assert.deepEqual(await compared({ archive, sequences, sql }), {
    name: "triggers",
    ok: true,
    detail: "4 triggers in place; accounts that lacked their sequences when they were saved: 2",
  });
  const accounts = [counted(null, null), counted("1", "one"), counted("2", ""), counted("3", null)];
  const [finding, ...others] = sequenceFindings(accounts, sequences, sql);
  assert.deepEqual(others, []);
  assert.deepEqual([finding?.kind, finding?.level], ["account-sequences-lacking", "warning"]);
  assert.match(finding?.message ?? "", /of account 2 fail in the live installation/);
  assert.match(finding?.hint ?? "", /conv_dpid_seq_2 and camp_dpid_seq_2/);
  assert.deepEqual(sequenceFindings(accounts.slice(0, 2), sequences, sql), []);
  assert.deepEqual(sequenceFindings(accounts, [], "create table accounts ()"), [], "another version numbers otherwise");
});
