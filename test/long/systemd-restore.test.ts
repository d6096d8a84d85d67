/**
 * Units of a real systemd around a restore: none comes back while it is unfinished, not by `Restart=always`, not with a machine that
 * starts anew, and by nobody's `systemctl start`; afterwards, forwards or back, nothing of Chatkeep's is left beside them.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chmod, mkdir, readdir, readFile, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { parseDocument } from "yaml";
import { onDatabase } from "../../src/demo/database.ts";
import type { JournalValue } from "../../src/job/stages/journal.ts";
import { summaryOf } from "../harness/cli.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import { freePort } from "../harness/postgres.ts";
import { startRedis } from "../harness/redis.ts";
import { CHATKEEP, PROJECT, startSystemd, type TestSystemd } from "../harness/systemd.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { assertRefused } from "../scenario/refusal.ts";
import { stageIs } from "../scenario/whole-desk.ts";

/** Neither below /tmp, of which the machine has its own, nor below /run. */
const PLACE = "/srv/chatkeep-units-test";
const UNITS = ["chatwoot-web.1.service", "chatwoot-worker.1.service"] as const;
const DROP_IN = "chatkeep-unfinished-restore.conf";
const STAND_IN = `${PROJECT.to}/test/harness/stand-in-chatwoot.ts`;

/** As cwctl's, with a stand-in for what they run; the machine's start wants them. */
async function writeUnits(folder: string, { installation }: Desk): Promise<void> {
  await mkdir(join(folder, "tested.target.wants"), { recursive: true });
  const { envFile, codeRoot, storageRoot } = installation;
  for (const unit of UNITS) {
    const args = unit.includes("web") ? "rails server" : "sidekiq";
    await writeFile(
      join(folder, unit),
      `[Unit]
PartOf=chatwoot.target
StartLimitIntervalSec=0
[Service]
WorkingDirectory=${codeRoot}
Environment=STAND_IN_HOST=127.0.0.1 STAND_IN_IS_IDLE=1 STORAGE_ROOT=${storageRoot}
ExecStart=${CHATKEEP[0]} --env-file=${envFile} ${STAND_IN} ${args}
Restart=always
RestartSec=100ms
`,
    );
  }
  await writeFile(join(folder, "chatwoot.target"), `[Unit]\nWants=${UNITS.join(" ")}\n`);
  await writeFile(
    join(folder, "tested.target"),
    "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\nAllowIsolate=yes\n",
  );
  await symlink("/etc/systemd/system/chatwoot.target", join(folder, "tested.target.wants/chatwoot.target"));
  await symlink("/dev/null", join(folder, "tmp.mount"));
}

async function configure(desk: Desk, state: string): Promise<string> {
  const document = parseDocument(await readFile(desk.config, "utf8"));
  document.setIn(["installation", "kind"], "linux-vm");
  document.set("state-dir", state);
  await writeFile(desk.config, document.toString());
  return join(state, String(document.getIn(["installation", "id"])));
}

/** Within two minutes. */
async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const began = performance.now();
  for (; performance.now() - began < 120_000; await sleep(15)) if (await isSo()) return;
  throw new Error(`never came about: ${what}`);
}

class Trial {
  readonly desk: Desk;
  readonly units: string;
  /** Of the installation, below the folder of the configuration's `state-dir`. */
  readonly home: string;
  #systemd: TestSystemd | undefined;

  constructor(desk: Desk, units: string, home: string) {
    this.desk = desk;
    this.units = units;
    this.home = home;
  }

  get systemd(): TestSystemd {
    return this.#systemd ?? assert.fail("no machine runs");
  }

  async boot(): Promise<void> {
    await this.halt();
    // A machine that starts knows that no process of before is there; one of other namespaces waits until it may be sure.
    const lock = join(this.home, "run.lock");
    if (existsSync(lock)) await utimes(lock, 0, 0);
    this.#systemd = await startSystemd([
      PROJECT,
      { from: PLACE, to: PLACE },
      { from: this.units, to: "/etc/systemd/system" },
    ]);
  }

  async halt(): Promise<void> {
    await this.#systemd?.[Symbol.asyncDispose]();
    this.#systemd = undefined;
  }

  async active(): Promise<string[]> {
    const { stdout } = await this.systemd.run("systemctl", ["is-active", ...UNITS]);
    return stdout.trim().split("\n");
  }

  async untilBothRun(): Promise<void> {
    await until("both units run", async () => (await this.active()).every((state) => state === "active"));
  }

  command(args: readonly string[]): string[] {
    return ["env", "HOME=/root", `TMPDIR=${PLACE}`, ...CHATKEEP, "--config", this.desk.config, "--json", ...args];
  }

  async summary(args: readonly string[]): Promise<Record<string, unknown>> {
    const [program = "", ...rest] = this.command(args);
    const { status, stdout, stderr } = await this.systemd.run(program, rest);
    assert.equal(status, 0, `${args.join(" ")}: ${stderr}${stdout}`);
    return summaryOf(stdout);
  }

  async journal(): Promise<JournalValue | undefined> {
    const [newest] = (await readdir(join(this.home, "restore")).catch((): string[] => [])).toSorted().toReversed();
    if (newest === undefined) return undefined;
    const text = await readFile(join(this.home, "restore", newest, "journal.json"), "utf8").catch(() => undefined);
    return text === undefined ? undefined : (JSON.parse(text) as JournalValue);
  }

  async killWhen(args: readonly string[], isSo: (journal: JournalValue) => boolean): Promise<void> {
    const file = join(PLACE, "pid");
    await rm(file, { force: true });
    const ended = this.systemd.run("sh", ["-c", `echo $$ > ${file}; exec "$@"`, "sh", ...this.command(args)]);
    await until(args.join(" "), async () => {
      const now = await this.journal();
      return now !== undefined && isSo(now);
    });
    await this.systemd.run("kill", ["-KILL", (await readFile(file, "utf8")).trim()]);
    const { status, stderr } = await ended;
    assert.notEqual(status, 0, `${args.join(" ")} was through before it was killed: ${stderr}`);
  }

  /** Nobody's start starts them, whichever way. */
  async assertHeld(what: string): Promise<void> {
    for (const unit of UNITS) assert.ok(existsSync(join(this.units, `${unit}.d`, DROP_IN)), `${what}: ${unit}`);
    await this.systemd.run("systemctl", ["start", "chatwoot.target"]);
    await this.systemd.run("systemctl", ["restart", ...UNITS]);
    assert.deepEqual(await this.active(), ["inactive", "inactive"], what);
  }

  async assertLeft(what: string): Promise<void> {
    await this.untilBothRun();
    for (const unit of UNITS) assert.ok(!existsSync(join(this.units, `${unit}.d`)), `${what}: ${unit}`);
  }
}

test("units do not come back between stop and their own stage, nor with the machine, and keep nothing of ours", async () => {
  await mkdir(PLACE, { recursive: true });
  await chmod(PLACE, 0o711);
  process.env["TMPDIR"] = PLACE;
  try {
    await using redis = await startRedis();
    await using desk = await openDesk({ isCheckout: true, size: { messages: 60, conversations: 10, files: 4 } });
    await makeCheapToOpen(desk);
    const { envFile, database } = desk.installation;
    const before = (await readFile(envFile, "utf8")).replace(/^REDIS_URL=.*$/m, `REDIS_URL=${redis.url}`);
    await writeFile(envFile, `${before}PORT=${await freePort()}\n`);
    const units = join(PLACE, "units");
    await writeUnits(units, desk);
    const trial = new Trial(desk, units, await configure(desk, join(PLACE, "state")));
    try {
      await trial.boot();
      await trial.untilBothRun();
      await trial.summary(["backup"]);
      const saved = await dumpLines(database);
      await onDatabase(database, async (client) => {
        await client.query("delete from messages where id % 2 = 0");
      });
      const damaged = await dumpLines(database);

      const begin = ["restore", "latest", "--yes", "--outbound", "allow"];
      await trial.killWhen(begin, stageIs("database", "begun"));
      await trial.assertHeld("killed while the database was loaded");
      await trial.boot();
      await trial.assertHeld("the machine was started anew");
      await trial.killWhen(["restore", "--resume", "--outbound", "allow"], stageIs("swap", "done"));
      await trial.assertHeld("killed behind the swap");
      await trial.summary(["restore", "--resume", "--outbound", "allow"]);
      assert.deepEqual(await dumpLines(database), saved);
      await trial.assertLeft("restored");

      await trial.summary(["rollback", "--yes"]);
      assert.deepEqual(await dumpLines(database), damaged);
      await trial.assertLeft("rolled back");
      await trial.summary(["restore", "--discard-previous", "--yes"]);

      await trial.killWhen(begin, stageIs("swap", "begun"));
      await trial.killWhen(["rollback", "--yes"], stageIs("swap", "undone"));
      await trial.assertHeld("the rollback was killed");
      await trial.boot();
      await trial.assertHeld("the machine was started anew in the middle of the rollback");
      await trial.summary(["rollback", "--yes"]);
      assert.deepEqual(await dumpLines(database), damaged);
      await trial.assertLeft("the rollback was gone on with");
      await trial.summary(["restore", "--discard-previous", "--yes"]);

      // One that ends again and again, with the reason in its log alone.
      const broken = join(units, `${UNITS[0]}.d`);
      await mkdir(broken);
      const command = "/bin/sh -c 'echo cannot load such file -- bootsnap; exit 1'";
      await writeFile(join(broken, "broken.conf"), `[Service]\nExecStart=\nExecStart=${command}\n`);
      const [program = "", ...rest] = trial.command(begin).filter((word) => word !== "--json");
      const ended = await trial.systemd.run(program, rest);
      const hint =
        /The last lines of chatwoot-web.* cannot load such file -- bootsnap .*More: journalctl -u chatwoot-web/;
      assertRefused(ended, { status: 1, error: /chatwoot-web\.1\.service/, hint });
      await rm(broken, { recursive: true });
      await trial.systemd.run("systemctl", ["daemon-reload"]);
      await trial.summary(["restore", "--resume", "--outbound", "allow"]);
      assert.deepEqual(await dumpLines(database), saved);
      await trial.assertLeft("restored when it could start");
      await trial.summary(["rollback", "--yes"]);
      assert.deepEqual(await dumpLines(database), damaged);
    } finally {
      await trial.halt();
    }
  } finally {
    delete process.env["TMPDIR"];
    await rm(PLACE, { recursive: true, force: true });
  }
});
