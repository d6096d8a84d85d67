/** What a person's own command starts: told when it ends with a failure, and left alone otherwise. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { silent } from "../../src/base/progress.ts";
import { leftRunning, type OwnCommand, startByCommand } from "../../src/installation/own-command.ts";
import { howToRead, lastWords, type ProcessState, stateOf } from "../../src/installation/process-state.ts";
import { isAlive } from "../../src/system/alive.ts";
import { HandClock, settle } from "../harness/hand-clock.ts";
import { run } from "../harness/run.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

const { signal } = new AbortController();
let folder: TestFolder;

before(async () => (folder = await temporaryFolder()));
after(async () => await folder[Symbol.asyncDispose]());

function own(command: string): OwnCommand {
  return { how: "shell", name: "start.web", command };
}

async function started(command: string): Promise<OwnCommand> {
  const step = own(command);
  await startByCommand(step, { folder: folder.path, progress: silent, signal });
  return step;
}

/** As soon as it is told to have ended. */
async function endOf(step: OwnCommand): Promise<ProcessState> {
  for (;;) {
    const state = await stateOf(step, { signal });
    if (state !== undefined && !state.isWanted) return state;
    await sleep(20);
  }
}

test("what it leaves running and ends with a failure is told with its status and last lines, wherever it prints them", async () => {
  const step = await started("(echo 'no such gem' >&2; exit 7) & echo begun");
  assert.deepEqual(await endOf(step), { isWanted: false, isUp: false, mark: "", status: 7 });
  assert.deepEqual((await lastWords(step, { signal })).toSorted(), ["begun", "no such gem"]);
  assert.equal(howToRead(step), `tail -n 100 '${folder.at("start.web.log")}'`);

  const log = folder.at("desk's own.log");
  const gate = folder.at("gate");
  const reads = `(read line <'${gate}'; echo "cannot $line"; exit 1) >"${log}" 2>&1 &`;
  const other = await started(`mkfifo '${gate}'; ${reads}`);
  while (!existsSync(log)) await sleep(20);
  assert.equal((await stateOf(other, { signal }))?.isUp, true);
  await writeFile(gate, "load\n");
  assert.equal((await endOf(other)).status, 1);
  assert.deepEqual(await lastWords(other, { signal }), ["cannot load"]);
});

test("what the command itself prints is in no file behind its end, and what it leaves running prints on", async () => {
  const gate = folder.at("another gate");
  const step = await started(`mkfifo '${gate}'; (read line <'${gate}'; echo "$line"; exit 1) & echo 'a secret'`);
  assert.equal(await readFile(folder.at("start.web.log"), "utf8"), "        \n");
  await writeFile(gate, "cannot load\n");
  await endOf(step);
  assert.equal(await readFile(folder.at("start.web.log"), "utf8"), "        \ncannot load\n");
  assert.deepEqual(await lastWords(step, { signal }), ["a secret", "cannot load"]);
});

/** Runs it in a process of its own, which ends; the number that the command prints is of what it has left running. */
async function startedByAnother(command: string): Promise<number> {
  const module = new URL("../../src/installation/own-command.ts", import.meta.url).href;
  const step: OwnCommand = { how: "shell", name: "start.worker", command };
  const script = `const { startByCommand } = await import(${JSON.stringify(module)});
    await startByCommand(${JSON.stringify(step)}, { folder: ${JSON.stringify(folder.path)}, progress: { say() {} }, signal: new AbortController().signal })
      .catch(({ message }) => console.error(message));`;
  const args = ["--input-type=module", "--eval", script];
  const { status, stderr } = await run(process.execPath, args, { env: { NODE_TEST_CONTEXT: undefined } });
  assert.equal(status, 0, stderr);
  assert.equal(/ended with status 5/.test(stderr), /exit 5/.test(command), stderr);
  return Number(await readFile(folder.at("number"), "utf8"));
}

test("what goes on running, in a session of its own too, is waited for by nobody, and outlives whoever started it", async () => {
  const pidFile = folder.at("pid");
  const step = await started(`setsid sleep 600 & echo $! >'${pidFile}'; exit 0`);
  const pid = Number(await readFile(pidFile, "utf8"));
  try {
    assert.deepEqual(await stateOf(step, { signal }), { isWanted: true, isUp: true, mark: String(pid) });
    // Chatkeep's own process ends, though what it started still prints where it was told to, and whether or not the command ended well.
    const number = `'${folder.at("number")}'`;
    for (const command of [`sleep 600 & echo $! >${number}`, `sleep 600 & echo $! >${number}; exit 5`]) {
      const second = await startedByAnother(command);
      assert.ok(second > 0 && isAlive(second), command);
      process.kill(second);
    }
  } finally {
    process.kill(pid);
  }
});

test("a helper that the command itself ends is no process of Chatwoot's", async () => {
  for (const command of ["sleep 600 & kill $!", "sleep 600 & kill -INT $!; kill -HUP $!; wait $!; true"]) {
    const step = await started(command);
    while (leftRunning(step)?.status === undefined) await sleep(20);
    assert.notEqual(leftRunning(step)?.status, 0);
    assert.equal(await stateOf(step, { signal }), undefined);
  }
});

test("of what ends well, or nobody left running, nothing is told", async () => {
  const daemon = await started("(exit 0) & wait");
  while (leftRunning(daemon)?.status === undefined) await sleep(20);
  assert.equal(await stateOf(daemon, { signal }), undefined);
  assert.equal(await stateOf(await started("true"), { signal }), undefined);
  assert.equal(leftRunning(own("true")), undefined);
});

test("a command that fails itself is told by its name with what it said, and none of it is what it is run by", async () => {
  for (const [command, status] of [
    ["echo no such unit >&2; exit 5", "status 5"],
    ["if then (", "status 2"],
    ["exec sh -c 'echo gone; kill -9 $$'", "SIGKILL"],
  ] as const) {
    await assert.rejects(started(command), (error) => {
      assert(isFailure(error, "program/failed"));
      assert.match(error.message, new RegExp(`^command 'start\\.web' of the configuration .*${status}$`));
      assert.match(error.hint ?? "", /no such unit|[Ss]yntax error|gone/);
      return true;
    });
  }
  const step = await started(`[ -e /proc/self/fd/3 ] || echo closed >'${folder.at("third")}'; exec 4>&1`);
  assert.equal(await readFile(folder.at("third"), "utf8"), "closed\n");
  assert.equal(await stateOf(step, { signal }), undefined);
});

/** As soon as somebody has written it. */
async function numberIn(path: string): Promise<number> {
  for (;;) {
    const text = await readFile(path, "utf8").catch(() => "");
    if (text.endsWith("\n")) return Number(text);
    await sleep(20);
  }
}

test("cancelled, it waits for nothing", async () => {
  const stopping = new AbortController();
  const reason = new Failure("run/cancelled", "stopped before the end");
  const pidFile = folder.at("waits");
  const starting = startByCommand(own(`sleep 600 & echo $! >'${pidFile}'; wait`), {
    folder: folder.path,
    progress: silent,
    signal: stopping.signal,
  });
  const refused = assert.rejects(starting, (error) => error === reason);
  const pid = await numberIn(pidFile);
  stopping.abort(reason);
  await refused;
  // What it ran would be an orphan that nobody knows of.
  while (isAlive(pid)) await sleep(20);
});

test("one that stays in the foreground is told, and at last ended with what it runs; one that is slow is waited for", async () => {
  const clock = new HandClock();
  const said: string[] = [];
  const start = async (command: string) => {
    const progress = { say: (line: string) => void said.push(line) };
    await startByCommand(own(command), { folder: folder.path, progress, clock, signal });
  };
  const told = async (starting: Promise<void>) => {
    const number = said.length;
    while (clock.asleep === 0) await sleep(20);
    await clock.advance(LIMITS.startCommandToldMs);
    assert.equal(said.length, number + 1);
    return await Promise.race([starting, settle()]);
  };
  const gate = folder.at("slow gate");
  await run("mkfifo", [gate]);
  const slow = start(`read line <'${gate}'`);
  await told(slow);
  await writeFile(gate, "go\n");
  await slow;
  assert.match(said[0] ?? "", /^command 'start\.web' of the configuration has not come to its end after 30 s: /);

  const [pidFile, behind] = [folder.at("foreground"), folder.at("behind")];
  const foreground = start(`(sh -c 'echo $$; exec sleep 600' >'${pidFile}'; true); echo on >'${behind}'`);
  const refused = assert.rejects(foreground, (error) => {
    assert(isFailure(error, "program/failed"));
    assert.match(
      error.message,
      /^command 'start\.web' of the configuration did not come to its end in 15 minutes, and was ended with what it ran$/,
    );
    assert.match(error.hint ?? "", /systemctl start.*2>&1 &/);
    return true;
  });
  const pid = await numberIn(pidFile);
  await told(foreground);
  assert.ok(isAlive(pid));
  await clock.advance(LIMITS.startCommandPatienceMs);
  await refused;
  while (isAlive(pid)) await sleep(20);
  assert.equal(existsSync(behind), false, "nothing behind it was begun");
});
