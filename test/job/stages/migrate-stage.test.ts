/** Chatwoot's own migrations as a restore runs them, and those that a killed run left: on a real PostgreSQL, with an engine that says what real ones say. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { isFailure } from "../../../src/base/errors.ts";
import type { InstallationSettings } from "../../../src/installation/find.ts";
import { judgeMigration, migrateStage, type MigrationLook } from "../../../src/job/stages/migrate-stage.ts";
import type { RanBefore } from "../../../src/job/stages/ran-before.ts";
import { NOTHING_DONE } from "../../../src/job/stages/stage.ts";
import { stopStage } from "../../../src/job/stages/stop-stage.ts";
import type { StandInContainer } from "../../harness/stand-in-engine.ts";
import { production, SECRET } from "../../installation/compose-shapes.ts";
import {
  applied,
  connectAs,
  contextOf,
  count,
  type Changes,
  database,
  disconnect,
  engine,
  recordOf,
  server,
  stageOf,
  useProcessDesk,
  world,
} from "./process-desk.ts";

useProcessDesk();

/** Runs the migrations as the engine's container would. */
function migrateInContainer(statement: string, status = 0, printed = ""): void {
  world.onRun = async () => {
    await server.query(statement, database.database);
    return { status, printed };
  };
}

const MIGRATE: Changes = { options: { migrate: true } };

test("migrations run in a container made as the web process's is, once, with the long statement timeout (F15, F32)", async () => {
  const made: unknown[] = [];
  world.onRun = async ({ Cmd, Env, Labels, HostConfig }) => {
    made.push([Cmd, HostConfig["RestartPolicy"], HostConfig["PortBindings"], Labels["com.docker.compose.oneoff"]]);
    assert.ok(Env.includes("POSTGRES_STATEMENT_TIMEOUT=600s") && Env.includes(`SECRET_KEY_BASE=${SECRET}`));
    await server.query("insert into schema_migrations values ('20991231235959')", database.database);
    return { status: 0, printed: "" };
  };
  const plan = await migrateStage.plan(await contextOf(MIGRATE));
  assert.deepEqual(plan.lines, ["run Chatwoot's migrations in a container of its own, as chatwoot-rails-1 is"]);
  const { lines } = await migrateStage.apply(await contextOf(MIGRATE), recordOf<MigrationLook>());
  assert.deepEqual(lines, ["Chatwoot's migrations ended well: 1 migration more than before"]);
  assert.deepEqual(made, [[["bundle", "exec", "rails", "db:chatwoot_prepare"], { Name: "no" }, {}, "True"]]);
  // Not asked for: nothing is planned, and nothing run.
  assert.deepEqual((await migrateStage.plan(await contextOf())).lines, []);
  await migrateStage.apply(await contextOf(), recordOf<MigrationLook>());
  assert.equal(made.length, 1);
});

/** What a run that was killed left running. */
function leaveContainer(): StandInContainer {
  const [model] = production("/nowhere", { labels: { "com.docker.compose.oneoff": "True" } });
  assert(model !== undefined);
  const left = { ...model, Name: "/chatwoot-rails-1-chatkeep-once" };
  world.containers = [...world.containers, left];
  return left;
}

test("migrations that a killed run left in a container are waited for, or stopped before the database goes back", async () => {
  await stopStage.apply(await contextOf(), recordOf<RanBefore>());
  migrateInContainer("select 1");
  const left = leaveContainer();
  // It is connected, as somebody who must not be is.
  const rake = await connectAs("rails");
  const { lines } = await applied("migrate", {
    ...MIGRATE,
    // It ends when it is waited for.
    onSaid: (text) => {
      if (text === "waiting for the migrations that an earlier run began") void disconnect(rake);
      left.State.Running = false;
    },
  });
  assert.deepEqual(lines, [
    "the migrations that an earlier run began were waited for",
    "Chatwoot's migrations ended well: nothing was to be migrated",
  ]);
  assert.deepEqual(engine.acts.slice(2), ["remove chatwoot-rails-1-chatkeep-once"]);
  leaveContainer();
  const other = await connectAs("rails");
  world.onAct = async (act) => {
    if (act === "stop chatwoot-rails-1-chatkeep-once") await disconnect(other);
  };
  const undone = await stageOf("migrate").beforeUndo?.(await contextOf());
  assert.deepEqual(undone?.lines, ["the migrations that an earlier run began were stopped"]);
  assert.deepEqual(
    engine.acts.slice(3),
    ["stop", "remove"].map((act) => `${act} chatwoot-rails-1-chatkeep-once`),
  );
  assert.deepEqual(await stageOf("migrate").beforeUndo?.(await contextOf()), NOTHING_DONE);
});

/** As {@link leaveContainer}, a process of this machine. */
async function leaveProcess(): Promise<{ child: ChildProcess; ended: Promise<unknown[]> }> {
  const child = spawn("sleep", ["1000"], { env: { ...process.env, CHATKEEP_MIGRATION: `restore${count}` } });
  await once(child, "spawn");
  return { child, ended: once(child, "exit") };
}

test("migrations that a killed run left on this machine are known by their mark: waited for, or stopped", async () => {
  const url = `postgres://${database.user}@127.0.0.1:${database.port}/${database.database}`;
  const settings: InstallationSettings = {
    kind: "manual",
    databaseUrl: url,
    migrate: "env | grep ^CHATKEEP_MIGRATION=; exit 4",
  };
  const changes = { ...MIGRATE, settings };
  const mark = `CHATKEEP_MIGRATION=restore${count}`;
  await assert.rejects(applied("migrate", changes), (error) => isFailure(error) && (error.hint ?? "").includes(mark));
  const first = await leaveProcess();
  const onSaid = () => first.child.kill("SIGUSR1");
  const waited = await stageOf("migrate").before?.(await contextOf({ ...changes, onSaid }), { isFirst: true });
  assert.equal(waited?.lines[0], "the migrations that an earlier run began were waited for");
  assert.deepEqual(await first.ended, [null, "SIGUSR1"]);
  const second = await leaveProcess();
  const { lines } = (await stageOf("migrate").beforeUndo?.(await contextOf(changes))) ?? NOTHING_DONE;
  assert.deepEqual(lines, ["the migrations that an earlier run began were stopped"]);
  assert.deepEqual(await second.ended, [null, "SIGTERM"]);
});

async function refusedFor(statement: string, named: RegExp): Promise<void> {
  await server.query(statement, database.database);
  await assert.rejects(
    migrateStage.apply(await contextOf(MIGRATE), recordOf<MigrationLook>()),
    (error) => isFailure(error, "restore/not-migrated") && named.test(error.message),
  );
}

test("migrations are never begun on a database that their task would make anew (F6)", async () => {
  migrateInContainer("drop table accounts");
  await refusedFor("delete from ar_internal_metadata", /^ar_internal_metadata .* is not there or empty/);
  await refusedFor("drop table ar_internal_metadata", /^ar_internal_metadata /);
  await refusedFor("delete from schema_migrations", /^schema_migrations and ar_internal_metadata .* are not there/);
  assert.deepEqual(await server.query("select count(*)::int as n from accounts", database.database), [{ n: 3 }]);
});

test("migrations that fail, or leave less than there was, are told with their last lines; what an early initializer prints is noise (F30)", async () => {
  const failsWith = async (statement: string, status: number, printed: string) => {
    migrateInContainer(statement, status, printed);
    const { message, hint = "" } = await migrateStage
      .apply(await contextOf(MIGRATE), recordOf<MigrationLook>())
      .then(() => assert.fail("it ended well"))
      .catch((error: unknown) => (isFailure(error, "restore/not-migrated") ? error : assert.fail(String(error))));
    return { message, hint };
  };
  const noise = `ERROR: relation "installation_configs" does not exist`;
  const timedOut = await failsWith("select 1", 1, `canceling statement due to statement timeout\nkey ${SECRET}\n`);
  assert.equal(timedOut.message, "Chatwoot's migrations ended with status 1");
  assert.match(timedOut.hint, / {2}canceling statement due to statement timeout\n {2}key •••\n.*chatkeep rollback/s);
  assert.match(
    (await failsWith("select 1", 1, noise)).message,
    /status 1, after asking for tables that were not there yet$/,
  );
  // Status 0 with that line: nothing is wrong.
  migrateInContainer("select 1", 0, noise);
  const { lines } = await migrateStage.apply(await contextOf(MIGRATE), recordOf<MigrationLook>());
  assert.deepEqual(lines, ["Chatwoot's migrations ended well: nothing was to be migrated"]);
  const gone = await failsWith("delete from schema_migrations where version like '2023%'", 0, "");
  assert.match(gone.message, /^migrations that the database had are gone from it: 20230426130150$/);
  assert.match(
    (await failsWith("delete from accounts where id > 1", 0, "")).message,
    /^3 accounts before the migrations, and 1 afterwards$/,
  );
});

test("what migrations are judged by does not depend on what they print", () => {
  const look = { versions: ["1", "2"], hasMetadata: true, accounts: 2 };
  assert.equal(judgeMigration({ status: 0, lines: [] }, look, { ...look, versions: ["1", "2", "3"] }), undefined);
  assert.match(judgeMigration({ status: 0, lines: [] }, look, { ...look, versions: undefined }) ?? "", /gone/);
  assert.match(
    judgeMigration({ status: 0, lines: [] }, look, { ...look, hasMetadata: false }) ?? "",
    /ar_internal_metadata/,
  );
});

test("a command of the configuration runs the migrations of any kind; without one, being asked for them stands in the way", async () => {
  const url = `postgres://${database.user}@127.0.0.1:${database.port}/${database.database}`;
  const migrate = `psql '${url}' --command "insert into schema_migrations values ('3')"; echo done; exit 4`;
  const context = await contextOf({ ...MIGRATE, settings: { kind: "manual", databaseUrl: url, migrate } });
  await assert.rejects(
    migrateStage.apply(context, recordOf<MigrationLook>()),
    (error) =>
      isFailure(error, "restore/not-migrated") &&
      error.message.endsWith("status 4") &&
      / {2}done\n/.test(error.hint ?? ""),
  );
  const { blockers } = await migrateStage.plan(
    await contextOf({ ...MIGRATE, settings: { kind: "manual", databaseUrl: url } }),
  );
  assert.deepEqual(
    blockers.map(({ kind }) => kind),
    ["migrate-unknown"],
  );
});
