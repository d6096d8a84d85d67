/** Stopping, starting, seeing that all is well, and migrating: on a real PostgreSQL, Redis and web process, with an engine that says what real ones say. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "../../../src/base/clock.ts";
import { isFailure } from "../../../src/base/errors.ts";
import type { InstallationSettings } from "../../../src/installation/find.ts";
import { healthStage } from "../../../src/job/stages/health-stage.ts";
import { LIMITS } from "../../../src/base/limits.ts";
import { isWorkerConnected, seeNobody } from "../../../src/job/stages/nobody.ts";
import { waitUntilSteady } from "../../../src/job/stages/coming-up.ts";
import type { RanBefore } from "../../../src/job/stages/ran-before.ts";
import { NOTHING_DONE } from "../../../src/job/stages/stage.ts";
import { stopStage } from "../../../src/job/stages/stop-stage.ts";
import { webStage } from "../../../src/job/stages/web-stage.ts";
import { workerStage } from "../../../src/job/stages/worker-stage.ts";
import { HandClock } from "../../harness/hand-clock.ts";
import { makeStandInCompose } from "../../harness/stand-in-compose.ts";
import { SECRET } from "../../installation/compose-shapes.ts";
import {
  FILES,
  applied,
  connectAs,
  contextOf,
  count,
  database,
  disconnect,
  engine,
  folder,
  isRunning,
  machine,
  port,
  recordOf,
  redis,
  server,
  stageOf,
  startReal,
  startWeb,
  stopWeb,
  useProcessDesk,
  world,
} from "./process-desk.ts";

useProcessDesk();

/** Whoever waits waits as long as it takes, and no time passes. */
class StillClock extends HandClock {
  override async sleep(): Promise<void> {
    await systemClock.sleep(20);
  }
}

test("worker, then web are stopped; whoever is still connected is waited for; an undo starts what ran, and nothing else", async () => {
  const [, sidekiq] = world.containers;
  assert(sidekiq !== undefined);
  const puma = await connectAs("puma 6.4.3 (tcp://0.0.0.0:3000) [app]");
  // A person who looks is nobody's application.
  await connectAs("psql");
  world.onAct = async (act) => {
    if (act === "stop chatwoot-rails-1") await disconnect(puma);
  };
  const record = recordOf<RanBefore>();
  const context = await contextOf();
  const plan = await stopStage.plan(context);
  assert.deepEqual(plan, {
    lines: [
      "stop the worker: container chatwoot-sidekiq-1",
      "stop the web process: container chatwoot-rails-1",
      "see that nobody is connected to the database any more",
    ],
    blockers: [],
    findings: [],
  });
  assert.deepEqual(engine.acts, [], "a plan changes nothing");
  sidekiq.State.Running = false;
  await stopStage.apply(context, record);
  assert.deepEqual(engine.acts, ["stop chatwoot-sidekiq-1", "stop chatwoot-rails-1"]);
  const { keys, ...ran } = record.kept ?? {};
  assert.deepEqual(ran, {
    web: [{ what: "container chatwoot-rails-1", ran: true }],
    worker: [{ what: "container chatwoot-sidekiq-1", ran: false }],
  });
  const kept = { ...ran, keys };
  // The stages that start them read it, whichever process goes on.
  assert.deepEqual(JSON.parse(await readFile(join(folder, "processes.json"), "utf8")), kept);
  // Again after a kill: what is stopped now did run.
  await stopStage.apply(await contextOf(), record);
  assert.deepEqual(record.kept, kept);
  world.onAct = async (act) => {
    if (act === "start chatwoot-rails-1") await startWeb();
  };
  const { lines } = await stopStage.undo({ ...(await contextOf()), clock: systemClock }, record);
  assert.deepEqual(lines, ["the web process runs again: container chatwoot-rails-1"]);
  assert.deepEqual(isRunning(), { "chatwoot-rails-1": true, "chatwoot-sidekiq-1": false });
});

test("a stop that the engine refuses half-way is done again, and undone to what was", async () => {
  const record = recordOf<RanBefore>();
  for (const refused of ["stop chatwoot-sidekiq-1", "stop chatwoot-rails-1"]) {
    world.onAct = (act) => {
      if (act === refused) throw new Error("killed");
    };
    // The stand-in lets go of the line without an answer, as an engine that was killed.
    await assert.rejects(stopStage.apply(await contextOf(), record), (error) => isFailure(error, "program/failed"));
  }
  delete world.onAct;
  await stopStage.undo(await contextOf(), record);
  assert.deepEqual(isRunning(), { "chatwoot-rails-1": true, "chatwoot-sidekiq-1": true });
  // Never begun: nothing to undo.
  assert.deepEqual(await stopStage.undo(await contextOf(), recordOf<RanBefore>()), { lines: [], findings: [] });
});

test("whoever stays connected is named, with where from, and nothing goes on: in the database and in Redis", async () => {
  const sidekiq = await connectAs("sidekiq 7.3.1 app [0 of 10 busy]");
  await assert.rejects(stopStage.apply(await contextOf(), recordOf<RanBefore>()), (error) => {
    assert(isFailure(error, "restore/in-use"));
    assert.match(
      error.message,
      /^Chatwoot is still connected .*process \d+ of role 'postgres' \(sidekiq 7\.3\.1 app .*, 127\.0\.0\.1\), since 20/,
    );
    assert.match(error.hint ?? "", /--resume/);
    return true;
  });
  await disconnect(sidekiq);
  await redis.session.command("CLIENT", "SETNAME", "sidekiq");
  await assert.rejects(
    seeNobody(await contextOf()),
    (error) => isFailure(error, "restore/in-use") && /the worker in Redis \(127\.0\.0\.1:\d+\)$/.test(error.message),
  );
  await redis.session.command("CLIENT", "SETNAME", "");
  await seeNobody(await contextOf());
});

test("what was started again meanwhile is stopped once more; what comes back even then is told", async () => {
  const [rails] = world.containers;
  assert(rails !== undefined);
  const context = await contextOf();
  await stopStage.apply(context, recordOf<RanBefore>());
  // The machine was restarted: 'restart: always' has brought it back.
  rails.State.Running = true;
  await seeNobody(context);
  assert.equal(isRunning()["chatwoot-rails-1"], false);
  world.onAct = (act) => {
    if (act === "stop chatwoot-rails-1") rails.State.Running = true;
  };
  rails.State.Running = true;
  await assert.rejects(
    seeNobody(context),
    (error) => isFailure(error, "restore/in-use") && /starts again .*container chatwoot-rails-1$/.test(error.message),
  );
});

test("what came back while a restore held behind the swap is stopped once more by the next stage, and told", async () => {
  const [rails, sidekiq] = world.containers;
  assert(rails !== undefined && sidekiq !== undefined);
  await stopStage.apply(await contextOf(), recordOf<RanBefore>());
  for (const name of ["environment", "redis", "migrate"] as const) {
    rails.State.Running = sidekiq.State.Running = true;
    const { lines, findings } = await applied(name, { options: { migrate: true } });
    assert.deepEqual(isRunning(), { "chatwoot-rails-1": false, "chatwoot-sidekiq-1": false }, name);
    const what = "container chatwoot-sidekiq-1, container chatwoot-rails-1 ran again after it was stopped";
    assert.equal(lines[0], `${what}, and was stopped once more`);
    assert.deepEqual(
      findings.map(({ kind, level }) => [kind, level]),
      [["ran-again", "warning"]],
    );
  }
  // Then the web process runs, and is connected; the worker alone must not be.
  const puma = await connectAs("puma 6.4.3 (tcp://0.0.0.0:3000) [app]");
  rails.State.Running = sidekiq.State.Running = true;
  const clone = { frontendUrl: "https://staging.example.com", anonymise: false };
  for (const [name, options] of [
    ["outbound", {}],
    ["worker", { clone }],
  ] as const) {
    sidekiq.State.Running = true;
    const { findings } = await applied(name, { options });
    assert.deepEqual(isRunning(), { "chatwoot-rails-1": true, "chatwoot-sidekiq-1": false }, name);
    assert.match(findings[0]?.message ?? "", /^container chatwoot-sidekiq-1 ran again/);
  }
  await connectAs("sidekiq 7.3.1 app [0 of 10 busy]");
  await assert.rejects(
    applied("outbound"),
    (error) => isFailure(error, "restore/in-use") && !error.message.includes("puma"),
  );
  await disconnect(puma);
});

test("what somebody started meanwhile is told and started at the end, though it did not run before; where a restore stopped nobody, it stops nobody", async () => {
  const [rails, sidekiq] = world.containers;
  assert(rails !== undefined && sidekiq !== undefined);
  // Files alone are brought back: Chatwoot runs on.
  const { lines } = (await stageOf("files").before?.(await contextOf(), { isFirst: true })) ?? {};
  assert.deepEqual([lines, isRunning()["chatwoot-rails-1"]], [[], true]);
  sidekiq.State.Running = false;
  const record = recordOf<RanBefore>();
  await stopStage.apply(await contextOf(), record);
  sidekiq.State.Running = true;
  // A stage behind another one of the same run needs no look of its own; the first of a run that goes on does.
  assert.deepEqual(await stageOf("files").before?.(await contextOf(), { isFirst: false }), NOTHING_DONE);
  assert.equal(isRunning()["chatwoot-sidekiq-1"], true);
  const { findings = [] } = (await stageOf("files").before?.(await contextOf(), { isFirst: true })) ?? {};
  assert.deepEqual(
    findings.map(({ kind }) => kind),
    ["ran-again"],
  );
  assert.equal(isRunning()["chatwoot-sidekiq-1"], false);
  world.onAct = startReal;
  await stopStage.undo({ ...(await contextOf()), clock: systemClock }, record);
  assert.deepEqual(isRunning(), { "chatwoot-rails-1": true, "chatwoot-sidekiq-1": true });
});

test("what a person's own commands start does not tell whether it runs: who is connected again is stopped by them, once, and told", async () => {
  const marker = machine.at(`stopped${count}`);
  const url = `postgres://${database.user}@127.0.0.1:${database.port}/${database.database}`;
  const end = `psql '${url}' --command "select pg_terminate_backend(pid) from pg_stat_activity where application_name ~ '^puma'"`;
  const settings = (web: string): InstallationSettings => ({
    kind: "manual",
    databaseUrl: url,
    stop: { web: `echo stopped >>'${marker}'; ${web}`, worker: "true" },
    start: { web: "true", worker: "true" },
  });
  const context = await contextOf({ settings: settings("true") });
  await stopStage.apply(context, recordOf<RanBefore>());
  await connectAs("puma 6.4.3 (tcp://0.0.0.0:3000) [app]");
  await assert.rejects(seeNobody(context, { isAgain: true }), (error) => isFailure(error, "restore/in-use"));
  assert.equal(await readFile(marker, "utf8"), "stopped\n".repeat(2));
  const { lines } = await seeNobody(await contextOf({ settings: settings(end) }), { isAgain: true });
  assert.match(
    lines[0] ?? "",
    /^command 'stop\.worker' of the configuration, command 'stop\.web' .* ran again after it was stopped/,
  );
  assert.equal(await readFile(marker, "utf8"), "stopped\n".repeat(3));
});

test("a worker that is seen at work is waited for no longer; one that only runs has to stay up", async () => {
  const steps = (await contextOf()).place.installation.processes.worker?.start ?? [];
  const waited = async () => {
    const clock = new HandClock({ wakesAtOnce: true });
    const context = { ...(await contextOf()), clock };
    await waitUntilSteady(steps, context, { isAtWork: async () => await isWorkerConnected(context) });
    return clock.monotonic();
  };
  const alone = await waited();
  assert.ok(alone >= LIMITS.steadyMs, `${alone}`);
  const sidekiq = await connectAs("sidekiq 7.3.1 app [0 of 10 busy]");
  const atWork = await waited();
  assert.ok(atWork >= LIMITS.steadyAtWorkMs && atWork < LIMITS.steadyMs, `${atWork}`);
  await disconnect(sidekiq);
});

function policies(): (string | undefined)[] {
  return world.containers.slice(0, 2).map(({ HostConfig }) => HostConfig?.RestartPolicy?.Name);
}

function setPolicies(...names: string[]): void {
  for (const [index, Name] of names.entries()) {
    const container = world.containers[index];
    if (container !== undefined) container.HostConfig = { ...container.HostConfig, RestartPolicy: { Name } };
  }
}

test("no container starts by itself until its own stage, or an undo, and then as it did before; a clone's worker stays off", async () => {
  setPolicies("always", "unless-stopped");
  await stopStage.apply(await contextOf(), recordOf<RanBefore>());
  assert.deepEqual(policies(), ["no", "no"]);
  // A hold asked for containers that are made anew: they have their file's policy again.
  setPolicies("always", "unless-stopped");
  await applied("redis");
  assert.deepEqual(policies(), ["no", "no"]);
  await webStage.apply(await contextOf(), recordOf());
  assert.deepEqual(policies(), ["always", "no"]);
  const clone = { frontendUrl: "https://staging.example.com", anonymise: false };
  const { next } = await applied("worker", { options: { clone } });
  assert.match(next?.[0] ?? "", /until this is called: docker update --restart=unless-stopped chatwoot-sidekiq-1$/);
  assert.deepEqual(policies(), ["always", "no"]);
  await workerStage.apply(await contextOf(), recordOf());
  assert.deepEqual(policies(), ["always", "unless-stopped"]);
  await workerStage.undo(await contextOf(), recordOf());
  await webStage.undo(await contextOf(), recordOf());
  assert.deepEqual(policies(), ["no", "no"]);
});

test("an undo starts nothing with other keys than before, and goes on once they are what they were", async () => {
  setPolicies("always", "always");
  const record = recordOf<RanBefore>();
  await stopStage.apply(await contextOf(), record);
  const [rails, sidekiq] = world.containers;
  assert(rails !== undefined && sidekiq !== undefined);
  const before = [rails.Config.Env ?? [], sidekiq.Config.Env ?? []] as const;
  for (const { Config } of [rails, sidekiq]) {
    Config.Env = (Config.Env ?? []).map((line) => line.replace(/^SECRET_KEY_BASE=.*/, "SECRET_KEY_BASE=of-the-point"));
  }
  const { PATH } = process.env;
  // Without Docker's program they are not made again here.
  process.env["PATH"] = "/nowhere";
  const held = await stopStage.undo(await contextOf(), record);
  process.env["PATH"] = PATH;
  assert.match(
    held.holds ?? "",
    /^Chatwoot is not started, for it has another SECRET_KEY_BASE than before the restore/,
  );
  assert.equal(JSON.stringify([held, record.kept]).includes(SECRET), false);
  assert.deepEqual(
    [isRunning(), policies()],
    [{ "chatwoot-rails-1": false, "chatwoot-sidekiq-1": false }, ["no", "no"]],
  );
  [rails.Config.Env, sidekiq.Config.Env] = before;
  world.onAct = startReal;
  const { holds, lines, findings } = await stopStage.undo({ ...(await contextOf()), clock: systemClock }, record);
  assert.deepEqual([holds, lines.length, findings], [undefined, 2, []]);
  assert.deepEqual(
    [isRunning(), policies()],
    [{ "chatwoot-rails-1": true, "chatwoot-sidekiq-1": true }, ["always", "always"]],
  );
});

test("an undo gives containers the environment of before again, and says how where it cannot", async () => {
  const record = recordOf<RanBefore>();
  await stopStage.apply(await contextOf(), record);
  const [rails, sidekiq] = world.containers;
  assert(rails !== undefined && sidekiq !== undefined);
  const before = [rails.Config.Env ?? [], sidekiq.Config.Env ?? []] as const;
  const restored = () => {
    for (const { Config } of [rails, sidekiq]) Config.Env = [...(Config.Env ?? []), "SMTP_ADDRESS=of-the-point"];
  };
  restored();
  world.onAct = startReal;
  const undone = async () => await stopStage.undo({ ...(await contextOf()), clock: systemClock }, record);
  // The project's folder is not here.
  const left = await undone();
  assert.match(
    left.next?.join() ?? "",
    /^make the containers again, which still have what was restored of SMTP_ADDRESS: docker compose .* --detach /,
  );
  for (const { Config } of [rails, sidekiq]) {
    Config.Labels = { ...Config.Labels, "com.docker.compose.project.working_dir": machine.path };
  }
  const docker = await makeStandInCompose(machine, ["chatwoot/chatwoot:v4.15.1"]);
  const { PATH } = process.env;
  process.env["PATH"] = `${docker.path}:${PATH}`;
  const all = world.containers;
  Object.defineProperty(world, "containers", {
    get() {
      for (const _ of docker.newUps()) [rails.Config.Env, sidekiq.Config.Env] = before;
      return all;
    },
  });
  const { lines, next, holds } = await undone();
  process.env["PATH"] = PATH;
  assert.deepEqual([next, holds], [undefined, undefined]);
  assert.equal(lines[0], "the containers of rails, sidekiq have the environment of before again");
  assert.deepEqual([rails.Config.Env, sidekiq.Config.Env], before);
});

test("what an undo starts, and does not become well, is told with its last lines", async () => {
  const [rails] = world.containers;
  assert(rails !== undefined);
  const record = recordOf<RanBefore>();
  await stopStage.apply(await contextOf(), record);
  rails.printed = "Could not find rails-7.1 in locally installed gems\n";
  const { lines, findings, next } = await stopStage.undo(await contextOf(), record);
  assert.deepEqual([lines, next], [["the worker runs again: container chatwoot-sidekiq-1"], undefined]);
  const [finding] = findings;
  assert.deepEqual([finding?.kind, finding?.level], ["not-well-again", "alarm"]);
  assert.match(finding?.message ?? "", /does not become well: .*ECONNREFUSED/);
  assert.match(finding?.hint ?? "", /Could not find rails-7\.1[^]*Everything else is as it was before the restore\.$/);
  assert.doesNotMatch(finding?.hint ?? "", /--resume/);
});

test("an undo starts what ran and waits for none of it where the database has no tables, as before the restore", async () => {
  const record = recordOf<RanBefore>();
  await stopStage.apply(await contextOf(), record);
  await server.query("drop table accounts", database.database);
  const { lines, findings } = await stopStage.undo(await contextOf(), record);
  assert.deepEqual(lines, []);
  assert.deepEqual(isRunning(), { "chatwoot-rails-1": true, "chatwoot-sidekiq-1": true });
  const why = `database '${database.database}' has none of Chatwoot's tables`;
  assert.deepEqual(
    findings.map(({ kind, level, message }) => ({ kind, level, message })),
    ["the web process", "the worker"].map((name) => ({
      kind: "not-well-again",
      level: "warning",
      message: `${name} was started and not waited for: ${why}`,
    })),
  );
});

test("that Redis does not tell who is connected is told, and not taken for nobody", async () => {
  await redis.session.command("ACL", "SETUSER", "default", "-client|list");
  try {
    const { lines, findings } = await stopStage.apply(await contextOf(), recordOf<RanBefore>());
    assert.deepEqual(lines, ["web and worker are stopped, and nobody is connected to the database"]);
    assert.deepEqual(
      findings.map(({ kind, message }) => [kind, message]),
      [
        [
          "redis-does-not-tell",
          "Redis could not be asked who is connected: it does not tell (CLIENT LIST is not allowed)",
        ],
      ],
    );
  } finally {
    await redis.session.command("ACL", "SETUSER", "default", "+client|list");
  }
  const { lines, findings } = await stopStage.apply(await contextOf(), recordOf<RanBefore>());
  assert.deepEqual([lines, findings], [["web and worker are stopped, and nobody is connected"], []]);
});

test("who cannot be stopped stands in the way while somebody is connected, and is a note else", async () => {
  const settings: InstallationSettings = {
    kind: "manual",
    databaseUrl: `postgres://${database.user}@127.0.0.1:${database.port}/${database.database}`,
  };
  const quiet = await stopStage.plan(await contextOf({ settings }));
  assert.deepEqual(
    [quiet.blockers, quiet.findings.map(({ kind, level }) => [kind, level])],
    [[], [["processes-unknown", "note"]]],
  );
  await connectAs("puma");
  const { blockers } = await stopStage.plan(await contextOf({ settings }));
  assert.match(
    blockers[0]?.message ?? "",
    /how to stop the worker and the web process, and somebody is connected: process/,
  );
  assert.match(blockers[0]?.hint ?? "", /stop\.worker and start\.worker, stop\.web and start\.web, and 'health'/);
});

test("web is started and well, files come through it as they were, and its version is told; then the worker", async () => {
  world.onAct = async (act) => {
    if (act === "start chatwoot-rails-1") await startWeb();
  };
  const record = recordOf<RanBefore>();
  await stopStage.apply(await contextOf(), record);
  assert.deepEqual((await webStage.apply(await contextOf(), recordOf())).lines, [
    "the web process was started: container chatwoot-rails-1",
  ]);
  assert.deepEqual(await healthStage.apply({ ...(await contextOf()), clock: systemClock }, recordOf()), {
    lines: [
      `the web process is well: http://127.0.0.1:${port}, Chatwoot 4.15.1`,
      "3 uploaded files came through the application as they were",
    ],
    findings: [],
  });
  // What is saved is of another version, and a file is not what it was.
  await writeFile(join(machine.path, `storage${count}`, "ab/cd/abcd1"), `the tixt of ${FILES[1]}`);
  const { findings } = await healthStage.apply(await contextOf({ version: "3.16.0" }), recordOf());
  assert.deepEqual(
    findings.map(({ kind, level, message }) => [kind, level, message]),
    [
      ["version-differs", "warning", "Chatwoot 4.15.1 runs on a database of version 3.16.0"],
      [
        "files-not-served",
        "alarm",
        "of 3 uploaded files that were asked for through the application 1 did not come: file 70000 (ünder way.png): its content is not what was uploaded",
      ],
    ],
  );
  assert.deepEqual((await workerStage.apply(await contextOf(), recordOf())).lines, [
    "the worker runs: container chatwoot-sidekiq-1",
  ]);
  // Undone the last first: nobody is left on what was restored.
  world.onAct = async (act) => {
    if (act === "stop chatwoot-rails-1") await stopWeb();
  };
  await workerStage.undo(await contextOf(), recordOf());
  await webStage.undo(await contextOf(), recordOf());
  assert.deepEqual(isRunning(), { "chatwoot-rails-1": false, "chatwoot-sidekiq-1": false });
});

test("a web process that does not come up is told with what it said last, without its secrets", async () => {
  const [rails] = world.containers;
  assert(rails !== undefined);
  rails.printed = `Booting Puma\nPG::UndefinedColumn with ${SECRET}\n`;
  await stopStage.apply(await contextOf(), recordOf<RanBefore>());
  await webStage.apply(await contextOf(), recordOf());
  await assert.rejects(healthStage.apply(await contextOf(), recordOf()), (error) => {
    assert(isFailure(error, "restore/not-well"));
    assert.match(error.message, /does not become well: .* does not answer: .*ECONNREFUSED/);
    assert.match(
      error.hint ?? "",
      /The last lines of container chatwoot-rails-1:\n {2}Booting Puma\n {2}PG::UndefinedColumn with •••\nMore: docker logs --tail 100 chatwoot-rails-1\n/,
    );
    return true;
  });
  rails.State.Running = false;
  await assert.rejects(
    healthStage.apply(await contextOf(), recordOf()),
    (error) => isFailure(error, "restore/not-well") && error.message.endsWith("chatwoot-rails-1 has ended again"),
  );
});

test("what a person's own command started and ends with a failure is told at once, for web and worker, and is started anew when it is gone on with", async () => {
  const started = machine.at(`begun${count}`);
  const settings: InstallationSettings = {
    kind: "manual",
    databaseUrl: `postgres://${database.user}@127.0.0.1:${database.port}/${database.database}`,
    stop: { web: "true", worker: "true" },
    start: {
      web: `echo begun >>'${started}'; (echo "no such gem as ${SECRET}" >&2; exit 3) &`,
      worker: "(echo 'cannot reach Redis'; exit 1) &",
    },
    // Nothing answers there.
    health: `http://127.0.0.1:${port}`,
  };
  // Five minutes of it are never waited for: its time stands still.
  const context = { ...(await contextOf({ settings })), clock: new StillClock() };
  context.place.installation.environment.set("SECRET_KEY_BASE", SECRET);
  await webStage.apply(context, recordOf());
  await assert.rejects(healthStage.apply(context, recordOf()), (error) => {
    assert(isFailure(error, "restore/not-well"));
    assert.equal(error.message, "what command 'start.web' of the configuration started has ended again, with status 3");
    assert.match(
      error.hint ?? "",
      /'start\.web' of the configuration:\n {2}no such gem as •••\nMore: tail -n 100 '.*\/start\.web\.log'\n/,
    );
    return true;
  });
  await assert.rejects(
    workerStage.apply(context, recordOf()),
    (error) => isFailure(error, "restore/not-well") && /'start\.worker'.*status 1$/.test(error.message),
  );
  // Another run, which knows nothing of what that one started.
  const later = await contextOf({ settings });
  assert.deepEqual(await healthStage.before?.(later, { isFirst: false }), NOTHING_DONE);
  const { lines } = (await healthStage.before?.(later, { isFirst: true })) ?? {};
  assert.deepEqual(lines, ["the web process was started once more: command 'start.web' of the configuration"]);
  assert.equal(await readFile(started, "utf8"), "begun\n".repeat(2));
});

test("a container that has ended is started anew when a restore is gone on with, and one that runs is not", async () => {
  const [rails] = world.containers;
  assert(rails !== undefined);
  await stopStage.apply(await contextOf(), recordOf<RanBefore>());
  world.onAct = startReal;
  const { lines } = (await healthStage.before?.(await contextOf(), { isFirst: true })) ?? {};
  assert.deepEqual(lines, ["the web process was started once more: container chatwoot-rails-1"]);
  await healthStage.apply({ ...(await contextOf()), clock: systemClock }, recordOf());
  assert.deepEqual(await healthStage.before?.(await contextOf(), { isFirst: true }), NOTHING_DONE);
});

test("a worker that did not run before stays stopped, a copy's never starts, and on a new machine everything does", async () => {
  const [rails, sidekiq] = world.containers;
  assert(rails !== undefined && sidekiq !== undefined);
  sidekiq.State.Running = false;
  await stopStage.apply(await contextOf(), recordOf<RanBefore>());
  const left = await workerStage.apply(await contextOf(), recordOf());
  assert.match(left.next?.[0] ?? "", /^Start Chatwoot's worker/);
  const clone = { frontendUrl: "https://staging.example.com", anonymise: false };
  await workerStage.apply(await contextOf({ options: { clone, isElsewhere: true } }), recordOf());
  assert.equal(isRunning()["chatwoot-sidekiq-1"], false);
  await workerStage.apply(await contextOf({ options: { isElsewhere: true } }), recordOf());
  assert.equal(isRunning()["chatwoot-sidekiq-1"], true);
});
