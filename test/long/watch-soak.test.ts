/**
 * An hour of mixed load, with faults by chance: every five minutes a random moment is proven against an account that was kept outside,
 * and in the end everything is there, the window has no gap, and the watch has grown neither in memory nor in open files.
 * CHATKEEP_TEST_SEED repeats the choices; SOAK_MINUTES and SOAK_PROVE_SECONDS make it shorter.
 */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { test, type TestContext } from "node:test";
import { type SeededRandom, seededRandom } from "../../src/demo/random.ts";
import { slotName } from "../../src/postgres/replication-slots.ts";
import { MEMORY } from "../../src/schedule/job.ts";
import { type Account, assertAsOf, startAccount } from "../harness/account.ts";
import { startFileAccount, type UploadedFile } from "../harness/account-files.ts";
import { startS3Proxy, type S3Proxy } from "../harness/s3-proxy.ts";
import { startS3 } from "../harness/s3.ts";
import { ask } from "../job/continuous/following.ts";
import { isReady, startWatch, type Watching } from "../scenario/watched-desk.ts";
import { type AccountDesk, assertNothingLost, openAccountDesk, untilDurable } from "./account-desk.ts";

const MINUTES = Number(process.env["SOAK_MINUTES"] ?? 60);
const PROVE_MS = Number(process.env["SOAK_PROVE_SECONDS"] ?? 300) * 1000;
const seed = process.env["CHATKEEP_TEST_SEED"] ?? String(Date.now());
const FILES_PATIENCE_MS = 180_000;
const MOST_BYTES = 300 * 1024 * 1024;
const ARGS = ["--mode", "stream", "--flush-every", "2s"];

interface Sample {
  readonly rss: number;
  /** The most that it ever had, as the kernel counts it. */
  readonly peak: number;
  readonly files: number;
}

class Soak {
  readonly random: SeededRandom;
  readonly desk: AccountDesk;
  readonly proxy: S3Proxy;
  watching: Watching;
  /** Of the watch that runs now. */
  samples: Sample[] = [];
  /** Of those before it. */
  readonly earlier: Sample[][] = [];

  constructor(desk: AccountDesk, proxy: S3Proxy) {
    this.desk = desk;
    this.proxy = proxy;
    this.random = seededRandom(`${seed}/soak`);
    this.watching = this.#start();
  }

  async restartWatch(how: "kill" | "stop", meanwhile: () => Promise<void> = async () => {}): Promise<void> {
    await this.watching[how]();
    await meanwhile();
    this.watching = this.#start();
    this.earlier.push(this.samples);
    this.samples = [];
  }

  /** With what its service would find in its environment. */
  #start(): Watching {
    return startWatch(this.desk, ARGS, { env: { ...this.desk.env, ...MEMORY } });
  }

  async caughtUp(): Promise<void> {
    await untilDurable(this.watching, this.desk.server.address);
  }

  async sample(): Promise<void> {
    const folder = `/proc/${this.watching.pid}`;
    try {
      const status = await readFile(`${folder}/status`, "utf8");
      const bytesOf = (name: string) =>
        Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? "0") * 1024;
      const files = (await readdir(`${folder}/fd`)).length;
      this.samples.push({ rss: bytesOf("VmRSS"), peak: bytesOf("VmHWM"), files });
    } catch {
      // It is being started anew.
    }
  }
}

/** At once: whoever runs it waits for an hour. */
function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

type Fault = (soak: Soak) => Promise<void>;

const pauseOf = ({ random }: Soak, mostMs: number) => sleep(mostMs / 4 + random.below(mostMs));

/** While the answer to every request is such. */
function store(answer: ReturnType<S3Proxy["fault"]>): Fault {
  return async (soak) => {
    soak.proxy.fault = () => answer;
    await pauseOf(soak, 20_000);
    soak.proxy.fault = () => undefined;
  };
}

const FAULTS: Readonly<Record<string, Fault>> = {
  "the server is killed": async ({ desk }) => {
    await desk.server.kill();
    await desk.start();
  },
  "the server is away for a while": async (soak) => {
    await soak.desk.server.stop();
    await pauseOf(soak, 5_000);
    await soak.desk.start();
  },
  "the session is cut": async ({ desk }) => {
    await ask(desk.server.address, "select pg_terminate_backend(pid) from pg_stat_replication");
  },
  "the store refuses": store({ status: 503, body: "" }),
  "the store's line breaks": store({ cutAfter: 0 }),
  "the store is slow": async (soak) => {
    soak.proxy.delayMs = 700;
    await pauseOf(soak, 20_000);
    soak.proxy.delayMs = 0;
  },
  "a burst": async ({ desk }) => {
    const rows = "select repeat(md5(g::text), 30) from generate_series(1, 100000) g";
    await ask(desk.server.address, `create table if not exists burst (body text); insert into burst ${rows}`);
    await ask(desk.server.address, "truncate burst");
  },
};

/** Faults after which the watch is another process: its memory is not that of the one before. */
const ANEW: typeof FAULTS = {
  "the watch is killed": async (soak) => await soak.restartWatch("kill"),
  "the watch is ended": async (soak) => await soak.restartWatch("stop"),
  "the slot is dropped meanwhile": async (soak) => {
    await soak.restartWatch("stop", async () => {
      await ask(soak.desk.server.address, `select pg_drop_replication_slot('${slotName(soak.desk.id)}')`);
    });
  },
};

async function prove(soak: Soak, account: Account): Promise<void> {
  await soak.caughtUp();
  const safe = account.entries.filter(({ acknowledgedMs }) => acknowledgedMs !== undefined);
  // What was acknowledged a moment ago may have come after the position that was waited for.
  const entry = safe[soak.random.below(Math.max(1, safe.length - 200))];
  assert.ok(entry !== undefined);
  assert.deepEqual(await soak.desk.window(), { ranges: 1, gaps: [] });
  const last = await soak.desk.lastAt({ kind: "time", us: BigInt(entry.askedMs) * 1_000n });
  assertAsOf(account.entries, last, { atMs: entry.askedMs, what: "a random moment" });
  const { rss = 0, files = 0 } = soak.samples.at(-1) ?? {};
  say(`a moment is proven: ${last} of ${account.entries.length}; ${mib(rss)} MiB, ${files} open files`);
}

/** A look at uploaded files may take long where everything else does, too. */
async function untilFollowed(desk: AccountDesk, files: readonly UploadedFile[]): Promise<void> {
  const end = performance.now() + FILES_PATIENCE_MS;
  for (;;) {
    try {
      return await desk.assertFollowed(files);
    } catch (error) {
      if (performance.now() > end) throw error;
      await sleep(5_000);
    }
  }
}

const mib = (bytes: number) => Math.round(bytes / 1024 / 1024);

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

/** What the last third has is no more than what the middle one had, but for what comes and goes. */
function assertFlat(t: TestContext, { samples, earlier }: Pick<Soak, "samples" | "earlier">): void {
  const third = Math.floor(samples.length / 3);
  const [middle, last] = [samples.slice(third, 2 * third), samples.slice(2 * third)];
  const [rss, files] = [
    (all: typeof last) => all.map((one) => one.rss),
    (all: typeof last) => all.map((one) => one.files),
  ];
  const most = Math.max(...rss([...earlier, samples].flat()));
  const peaks = [...earlier, samples].map((all) => mib(Math.max(0, ...all.map((one) => one.peak))));
  t.diagnostic(`most memory of each watch, in MiB: ${peaks.join(", ")}`);
  t.diagnostic(
    `memory: ${mib(most)} MiB at most, ${mib(median(rss(middle)))} in the middle and ${mib(median(rss(last)))} at the end; open files: ${median(files(middle))}, then ${median(files(last))}, of ${samples.length} samples`,
  );
  assert.ok(most <= MOST_BYTES, `${mib(most)} MiB`);
  assert.ok(median(rss(last)) <= 1.2 * median(rss(middle)), "memory grows");
  assert.ok(median(files(last)) <= median(files(middle)) + 5, "open files grow");
}

test(`watched for ${MINUTES} minutes (CHATKEEP_TEST_SEED=${seed})`, async (t) => {
  await using s3 = await startS3();
  await using proxy = await startS3Proxy(s3.endpoint);
  const location = `s3:${proxy.endpoint}/desk`;
  const settings = ["max_slot_wal_keep_size=1GB", "wal_keep_size=256MB"];
  await using desk = await openAccountDesk({ location, env: s3.env, settings });
  const soak = new Soak(desk, proxy);
  const sampling = setInterval(() => void soak.sample(), 2_000);
  try {
    await soak.watching.until("a base is there", isReady);
    await using account = await startAccount(desk.installation.database, { pauseMs: 20, isPersistent: true });
    await using uploads = startFileAccount(desk.installation, { seed, pauseMs: 2_000 });
    const began = performance.now();
    const done: Record<string, number> = {};
    let provedMs = began;
    for (let elapsed = 0; elapsed < MINUTES * 60_000; elapsed = performance.now() - began) {
      // Afterwards one process is looked at to its end.
      const faults = Object.entries(elapsed < MINUTES * 20_000 ? { ...FAULTS, ...ANEW } : FAULTS);
      const [name = "", fault] = faults[soak.random.below(faults.length)] ?? [];
      say(`${Math.round(elapsed / 1000)} s: ${name}`);
      await fault?.(soak);
      done[name] = (done[name] ?? 0) + 1;
      await soak.caughtUp();
      await pauseOf(soak, 8_000);
      if (performance.now() - provedMs < PROVE_MS) continue;
      await prove(soak, account);
      provedMs = performance.now();
    }
    clearInterval(sampling);
    t.diagnostic(JSON.stringify(done));
    await uploads.stop();
    await untilFollowed(desk, uploads.files);
    await assertNothingLost(desk, account, soak.watching, desk.server.address);
    assertFlat(t, soak);
  } finally {
    clearInterval(sampling);
    await soak.watching.kill();
  }
});
