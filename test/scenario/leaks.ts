/** Looks for canaries: secrets that may be nowhere but where they were put. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { sampled } from "../harness/whole.ts";

/** A name that may be shown, and the secret that may not. */
export type Canaries = Readonly<Record<string, string>>;

/** The forms in which a secret could be written: as it is, in an address, in JSON, in base64. */
function formsOf(secret: string): Buffer[] {
  const forms = [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)];
  return [...new Set(forms)].map((form) => Buffer.from(form));
}

/** A process is looked at in each of its first rounds, in which it becomes what it is to be. */
const YOUNG_ROUNDS = 64;
/** Between two looks. */
const PAUSE_MS = sampled(8, 2);
/** How often that is looked at which lasts longer. */
const SELDOM = 16;

export class LeakFinder {
  readonly #forms: [name: string, forms: Buffer[]][];
  readonly #found = new Set<string>();
  readonly #scanned = new Map<string, string>();
  /** The round in which each process was first seen. */
  #since: ReadonlyMap<string, number> = new Map();
  #rounds = 0;
  /** How many command lines of other processes were seen. */
  commandLines = 0;
  /** How many temporary files were seen. */
  temporaryFiles = 0;

  constructor(canaries: Canaries) {
    this.#forms = Object.entries(canaries).map(([name, secret]) => [name, formsOf(secret)]);
  }

  /** One sentence for each leak: which secret was seen where. */
  get found(): string[] {
    return [...this.#found].toSorted();
  }

  scan(bytes: Uint8Array | string, where: string): void {
    const buffer =
      typeof bytes === "string" ? Buffer.from(bytes) : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    for (const [name, forms] of this.#forms) {
      if (forms.some((form) => buffer.includes(form))) this.#found.add(`${name} in ${where}`);
    }
  }

  /** Every file below a folder; those that did not change since the last time are not read again. */
  scanFolder(root: string): number {
    let count = 0;
    for (const path of filesBelow(root)) {
      try {
        const { size, mtimeMs } = statSync(path);
        count += 1;
        if (this.#scanned.get(path) === `${size} ${mtimeMs}`) continue;
        this.scan(readFileSync(path), path);
        this.#scanned.set(path, `${size} ${mtimeMs}`);
      } catch {
        // It is gone already, as temporary files are.
      }
    }
    return count;
  }

  /**
   * The command lines of all processes, but those for which `isOwn` is true: what the user typed is no leak of ours. One that
   * has been there for long is looked at now and then only: it will hardly become another program.
   */
  scanProcesses(isOwn: (commandLine: string) => boolean): void {
    const round = (this.#rounds += 1);
    const there = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
    const since = new Map(there.map((pid) => [pid, this.#since.get(pid) ?? round]));
    this.#since = since;
    for (const [pid, first] of since) {
      if (first + YOUNG_ROUNDS < round && round % SELDOM !== 0) continue;
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ");
        this.commandLines += 1;
        if (!isOwn(line)) this.scan(line, `argv of ${line.split(" ")[0]}`);
      } catch {
        // It has ended.
      }
    }
  }

  /** Watches processes and temporary files until `done` settles. */
  async watch<T>(done: Promise<T>, temporary: string, isOwn: (commandLine: string) => boolean): Promise<T> {
    const state = { isRunning: true };
    const ended = done.finally(() => (state.isRunning = false));
    ended.catch(() => {});
    for (let round = 0; state.isRunning; round += 1) {
      this.scanProcesses(isOwn);
      // Files live longer than command lines, and cost more to look at.
      if (round % SELDOM === 0) this.temporaryFiles += this.scanFolder(temporary);
      // The shortest-lived program takes longer than 2 ms. To look that often takes as much of a processor as what is looked at; with
      // fewer looks each of the programs, of which there are hundreds of each kind, is met less often, and all kinds are.
      await sleep(PAUSE_MS);
    }
    return await ended;
  }
}

function filesBelow(root: string): string[] {
  try {
    return readdirSync(root, { withFileTypes: true }).flatMap((entry) => {
      const path = join(root, entry.name);
      if (entry.isDirectory()) return filesBelow(path);
      return entry.isFile() ? [path] : [];
    });
  } catch {
    return []; // gone already
  }
}
