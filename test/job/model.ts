/**
 * A model of two repositories, and random verbs that are done to both the model and the real thing: which points with
 * which contents must be there, which holds and which passwords. After each verb, crashed or not, everything is compared.
 * The same seed gives the same verbs.
 */
import assert from "node:assert/strict";
import { formatInstant, type Clock } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import { parseFileId, type FileId } from "../../src/base/ids.ts";
import { silent } from "../../src/base/progress.ts";
import { seededRandom, type SeededRandom } from "../../src/demo/random.ts";
import { copy, snapshotsOf } from "../../src/job/copy.ts";
import { forget, type ForgetRequest } from "../../src/job/forget.ts";
import { hold, releaseHold } from "../../src/job/hold.ts";
import { lockAlone, lockToWrite } from "../../src/job/lock.ts";
import { listPoints } from "../../src/job/points.ts";
import { prune } from "../../src/job/prune.ts";
import { addKey, removeKey } from "../../src/repo/keys.ts";
import { repairIndex } from "../../src/repo/repair-index.ts";
import { openRepository, type Repository } from "../../src/repo/repository.ts";
import { verifyRepository } from "../../src/repo/verify.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { backUp, CHEAP, newRepository, readFiles, reopen, signal, type Files } from "../repo/small-backup.ts";
import { addProof, clockAt, HOUR, NOW, ONE } from "./kept-points.ts";

class Crash extends Error {}

interface ModelPoint {
  readonly files: Files;
  readonly timeMs: number;
}

/** A repository, and what the model says of it. */
class Side {
  readonly name: string;
  readonly store: MemoryStore;
  readonly #original: Repository;
  /** By the points' names. */
  points = new Map<string, ModelPoint>();
  proven = new Set<string>();
  /** `point name` of each hold. */
  holds = new Set<string>();
  passwords = new Map<string, FileId>();

  constructor(name: string, store: MemoryStore, original: Repository) {
    this.name = name;
    this.store = store;
    this.#original = original;
  }

  /** As a new process sees it. */
  open(): Repository {
    return reopen(this.#original, this.store);
  }

  isHeld(point: string): boolean {
    return [...this.holds].some((one) => one.startsWith(`${point} `));
  }

  newestFirst(): string[] {
    return [...this.points.keys()].toSorted(
      (a, b) => (this.points.get(b)?.timeMs ?? 0) - (this.points.get(a)?.timeMs ?? 0),
    );
  }
}

/** What may have changed when a verb ended before its end: each of these is there or not. */
interface Effect {
  points?: ReadonlyMap<string, ModelPoint>;
  gone?: readonly string[];
  /** A point whose name is only known when it was made. */
  backup?: ModelPoint;
  holds?: readonly string[];
  released?: readonly string[];
  proof?: string;
  password?: string;
  removedPassword?: string;
}

interface Verb {
  side: Side;
  name: string;
  effect: Effect;
  /** True when the verb must refuse, and change nothing. */
  refused?: boolean;
  run: () => Promise<unknown>;
}

const HOLD_NAMES = ["audit", "legal", "upgrade"];

export interface ModelOptions {
  seed: string;
  steps: number;
}

/** @returns how often each verb was done, crashed ones apart. */
export async function runModel({ seed, steps }: ModelOptions): Promise<Map<string, number>> {
  const model = await Model.open(seed);
  for (let step = 1; step <= steps; step += 1) {
    try {
      await model.step();
    } catch (error) {
      throw new Error(`seed ${seed}, step ${step}, after ${model.last}`, { cause: error });
    }
  }
  return model.done;
}

class Model {
  readonly done = new Map<string, number>();
  last = "nothing";
  readonly #random: SeededRandom;
  readonly #sides: readonly [Side, Side];
  #nowMs = NOW - 200 * 24 * HOUR;
  #files: Files = {};
  #serial = 0;

  private constructor(seed: string, sides: readonly [Side, Side]) {
    this.#random = seededRandom(`model/${seed}`);
    this.#sides = sides;
  }

  static async open(seed: string): Promise<Model> {
    const sides: Side[] = [];
    for (const name of ["first", "second"]) {
      const store = createMemoryStore();
      sides.push(new Side(name, store, await newRepository(store)));
    }
    const [first, second] = sides;
    assert.ok(first && second);
    return new Model(seed, [first, second]);
  }

  get #clock(): Clock {
    return clockAt(this.#nowMs);
  }

  get #common() {
    return { clock: this.#clock, progress: silent, signal };
  }

  async step(): Promise<void> {
    this.#nowMs += HOUR * (1 + this.#random.below(20));
    const [one, two] = this.#random.chance(0.7) ? this.#sides : this.#sides.toReversed();
    assert.ok(one && two);
    const verb = this.#choose(one, two);
    const stopAt = this.#random.chance(0.3) ? 1 + this.#random.below(8) : undefined;
    this.last = `${verb.name} in ${verb.side.name}${stopAt === undefined ? "" : `, stopped at write ${stopAt}`}`;
    const isCrashed = await this.#run(verb, stopAt);
    const label = isCrashed ? `${verb.name}, stopped` : verb.name;
    this.done.set(label, (this.done.get(label) ?? 0) + 1);
    for (const side of this.#sides) {
      await this.#compare(side, side === verb.side ? verb.effect : {}, isCrashed);
    }
    if (verb.name === "prune to nothing" && !isCrashed) {
      const { notes } = await verifyRepository(verb.side.open(), { signal, progress: silent });
      assert.deepEqual(notes, [], "something that nobody needs was left");
    }
  }

  /** True when it was stopped. */
  async #run({ side, refused, run }: Verb, stopAt: number | undefined): Promise<boolean> {
    let writes = 0;
    if (stopAt !== undefined) {
      side.store.beforeWrite = () => {
        writes += 1;
        if (writes >= stopAt) throw new Crash("stopped");
      };
    }
    try {
      await run();
      assert.ok(refused !== true, "it was not refused");
      return false;
    } catch (error) {
      if (refused === true && isFailure(error, "usage/invalid")) return false;
      if (error instanceof Crash || (isFailure(error) && stopAt !== undefined && writes >= stopAt)) return true;
      throw error;
    } finally {
      side.store.beforeWrite = undefined;
      // Of a process that died; this one lives, and would hold it for ever.
      if (stopAt !== undefined && writes >= stopAt) {
        for (const name of side.store.files.keys()) if (name.startsWith("locks/")) side.store.files.delete(name);
      }
    }
  }

  #choose(side: Side, other: Side): Verb {
    const weighted: [number, () => Verb | undefined][] = [
      [6, () => this.#backup(side)],
      [3, () => this.#copy(other, side)],
      [2, () => this.#forgetByPolicy(side)],
      [2, () => this.#forgetByName(side)],
      [3, () => this.#prune(side)],
      [2, () => this.#hold(side)],
      [2, () => this.#release(side)],
      [2, () => this.#prove(side)],
      [1, () => this.#addPassword(side)],
      [1, () => this.#removePassword(side)],
      [1, () => this.#loseIndex(side)],
    ];
    const total = weighted.reduce((sum, [weight]) => sum + weight, 0);
    for (;;) {
      let at = this.#random.below(total);
      const [, make] = weighted.find(([weight]) => (at -= weight) < 0) ?? [];
      const verb = make?.();
      if (verb !== undefined) return verb;
    }
  }

  #backup(side: Side): Verb {
    const files: Record<string, Uint8Array> = { ...this.#files };
    for (let change = this.#random.below(4); change >= 0; change -= 1) {
      const path = `${this.#random.pick(["", "a/", "b/", "b/c/"])}${this.#random.pick(["one", "two", "three"])}`;
      const text = Buffer.alloc(1 + this.#random.below(5000), `text ${(this.#serial += 1)} `);
      files[path] = this.#random.chance(0.5) ? this.#random.bytes(this.#random.below(20_000)) : text;
      if (this.#random.chance(0.2)) delete files[path];
    }
    const point = { files, timeMs: this.#nowMs };
    this.#files = files;
    return {
      side,
      name: "backup",
      effect: { backup: point },
      run: async () => {
        const repository = side.open();
        await using _lock = await lockToWrite(repository, this.#common);
        await backUp(repository, files, formatInstant(point.timeMs), {
          paths: ["/chatkeep"],
          tags: ["chatkeep", `installation=${ONE}`],
          hostname: "desk",
        });
      },
    };
  }

  #copy(from: Side, to: Side): Verb {
    const points = new Map([...from.points].filter(([name]) => !to.points.has(name)));
    return {
      side: to,
      name: "copy",
      effect: { points },
      run: async () => {
        const { failed } = await copy({
          from: { repository: from.open(), name: from.name },
          to: { repository: to.open(), name: to.name },
          choose: (snapshots, found) => snapshotsOf(snapshots, found),
          ...this.#common,
        });
        assert.deepEqual(failed, []);
      },
    };
  }

  #forget(side: Side, request: ForgetRequest, parts: Pick<Verb, "name" | "effect" | "refused">): Verb {
    const repositoryName = side.name;
    return {
      side,
      ...parts,
      run: async () =>
        await forget({ repository: side.open(), repositoryName, request, program: "test", ...this.#common }),
    };
  }

  #forgetByPolicy(side: Side): Verb | undefined {
    if (side.points.size === 0) return undefined;
    const last = 1 + this.#random.below(5);
    const names = side.newestFirst();
    const newestProven = names.find((name) => side.proven.has(name));
    const gone = names.slice(last).filter((name) => name !== newestProven && !side.isHeld(name));
    const request = { by: "policy", policy: { last }, timeZone: "UTC", installation: { id: ONE } } as const;
    return this.#forget(side, request, { name: "forget by policy", effect: { gone } });
  }

  #forgetByName(side: Side): Verb | undefined {
    if (side.points.size === 0) return undefined;
    const name = this.#random.pick([...side.points.keys()]);
    const isLastProven = side.proven.has(name) && side.proven.size === 1;
    const refused = side.isHeld(name) || side.points.size === 1 || isLastProven;
    const request = { by: "name", words: [name], installationId: ONE } as const;
    return this.#forget(side, request, { name: "forget by name", effect: refused ? {} : { gone: [name] }, refused });
  }

  #prune(side: Side): Verb {
    const toNothing = this.#random.chance(0.5);
    const maxUnused = toNothing ? { bytes: 0 } : { percent: 10 + this.#random.below(60) };
    return {
      side,
      name: toNothing ? "prune to nothing" : "prune",
      effect: {},
      run: async () => await prune({ repository: side.open(), maxUnused, dryRun: false, ...this.#common }),
    };
  }

  #holding(side: Side) {
    return { repository: side.open(), repositoryName: side.name, installationId: ONE, ...this.#common };
  }

  #hold(side: Side): Verb | undefined {
    if (side.points.size === 0) return undefined;
    const [word, name] = [this.#random.pick([...side.points.keys()]), this.#random.pick(HOLD_NAMES)];
    const wanted = { word, name, reason: undefined, until: undefined, timeZone: "UTC", program: "test" };
    return {
      side,
      name: "hold",
      effect: { holds: [`${word} ${name}`] },
      run: async () => await hold(this.#holding(side), wanted),
    };
  }

  #release(side: Side): Verb | undefined {
    if (side.holds.size === 0) return undefined;
    const one = this.#random.pick([...side.holds]);
    const [word = "", name = ""] = one.split(" ");
    return {
      side,
      name: "release",
      effect: { released: [one] },
      run: async () => await releaseHold(this.#holding(side), { word, name }),
    };
  }

  #prove(side: Side): Verb | undefined {
    if (side.points.size === 0) return undefined;
    const name = this.#random.pick([...side.points.keys()]);
    const timeMs = this.#nowMs - HOUR;
    return {
      side,
      name: "prove",
      effect: { proof: name },
      run: async () => {
        const repository = side.open();
        await using _lock = await lockToWrite(repository, this.#common);
        const { points } = await listPoints(repository, { signal });
        const point = points.find(({ id }) => id === name);
        assert.ok(point);
        await addProof(repository, { point: name as never, tree: point.snapshot.tree, proven: true, timeMs });
      },
    };
  }

  #addPassword(side: Side): Verb {
    const password = `password ${(this.#serial += 1)}`;
    return {
      side,
      name: "key add",
      effect: { password },
      run: async () => {
        const labels = { username: "tester", hostname: "test-host" };
        await addKey(side.open(), { password, cost: CHEAP, ...labels, ...this.#common });
      },
    };
  }

  #removePassword(side: Side): Verb | undefined {
    if (side.passwords.size === 0) return undefined;
    const [password, id] = this.#random.pick([...side.passwords]);
    return {
      side,
      name: "key remove",
      effect: { removedPassword: password },
      run: async () => {
        const repository = side.open();
        await using lock = await lockAlone(repository, this.#common);
        await removeKey(repository, id, { signal, lock });
      },
    };
  }

  /** Index files go, and are made anew from the packs. */
  #loseIndex(side: Side): Verb {
    const files = [...side.store.files.keys()].filter((name) => name.startsWith("index/")).toSorted();
    const lost = files.filter(() => this.#random.chance(0.4));
    return {
      side,
      name: "repair index",
      effect: {},
      run: async () => {
        for (const name of lost) side.store.files.delete(name);
        // Whatever stops the first repair, a second one ends it.
        const repair = async () => {
          const repository = side.open();
          await using lock = await lockAlone(repository, this.#common);
          await repairIndex(repository, { readAllPacks: false, lock, progress: silent, signal });
        };
        await repair().catch(async (error: unknown) => {
          side.store.beforeWrite = undefined;
          for (const name of side.store.files.keys()) if (name.startsWith("locks/")) side.store.files.delete(name);
          await repair();
          throw error;
        });
      },
    };
  }

  async #compare(side: Side, effect: Effect, isCrashed: boolean): Promise<void> {
    const repository = side.open();
    const { problems } = await verifyRepository(repository, { readData: "all", signal, progress: silent });
    assert.deepEqual(problems, [], side.name);
    const locks = [...side.store.files.keys()].filter((name) => name.startsWith("locks/"));
    assert.deepEqual(locks, [], "a lock was left");
    const { points, damaged } = await listPoints(repository, { signal });
    assert.deepEqual(damaged, []);
    const found = new Map(points.map((point) => [point.id, point]));
    assert.equal(found.size, points.length, "a point is there twice");
    await this.#comparePoints(side, effect, { found, isCrashed });
    for (const [name, { files }] of side.points) {
      const read = await readFiles(repository, found.get(name)?.snapshot.tree ?? ("" as never));
      assert.deepEqual(Object.keys(read).toSorted(), Object.keys(files).toSorted());
      for (const [path, bytes] of Object.entries(files)) assert.ok(read[path]?.equals(bytes), `${name}: ${path}`);
    }
    this.#compareRecords(side, effect, { points, isCrashed });
    await this.#comparePasswords(side, effect, isCrashed);
  }

  async #comparePoints(
    side: Side,
    effect: Effect,
    { found, isCrashed }: { found: ReadonlyMap<string, unknown>; isCrashed: boolean },
  ): Promise<void> {
    const may = new Map([...side.points, ...(effect.points ?? [])]);
    const unknown = [...found.keys()].filter((name) => !may.has(name));
    const [made] = unknown;
    if (made !== undefined && effect.backup !== undefined) may.set(made, effect.backup);
    assert.ok(unknown.length <= (effect.backup === undefined ? 0 : 1), `unknown points: ${unknown.join()}`);
    if (effect.backup !== undefined && !isCrashed) assert.equal(unknown.length, 1, "the backup made no point");
    const gone = new Set(effect.gone);
    for (const name of side.points.keys()) assert.ok(found.has(name) || gone.has(name), `${name} was lost`);
    if (!isCrashed) {
      for (const name of gone) assert.ok(!found.has(name), `${name} was not forgotten`);
      for (const name of effect.points?.keys() ?? []) assert.ok(found.has(name), `${name} was not copied`);
    }
    side.points = new Map([...may].filter(([name]) => found.has(name)));
  }

  #compareRecords(
    side: Side,
    effect: Effect,
    { points, isCrashed }: { points: Awaited<ReturnType<typeof listPoints>>["points"]; isCrashed: boolean },
  ): void {
    const holds = new Set(points.flatMap(({ id, holds: own }) => own.map(({ name }) => `${id} ${name}`)));
    const proven = new Set(points.filter(({ proof }) => proof?.proven === true).map(({ id }) => id));
    const changed = new Set([...(effect.holds ?? []), ...(effect.released ?? [])]);
    for (const one of side.holds.symmetricDifference(holds)) assert.ok(changed.has(one), `hold ${one}`);
    if (!isCrashed) {
      for (const one of effect.holds ?? []) assert.ok(holds.has(one));
      for (const one of effect.released ?? []) assert.ok(!holds.has(one));
    }
    // A stopped forget may have left the proof of a point that a copy brings back.
    for (const name of side.proven) if (side.points.has(name)) assert.ok(proven.has(name), `proof of ${name}`);
    side.holds = holds;
    side.proven = proven;
  }

  async #comparePasswords(side: Side, effect: Effect, isCrashed: boolean): Promise<void> {
    const { password, removedPassword } = effect;
    if (password !== undefined) {
      const known = new Set(side.passwords.values());
      const keys = [...side.store.files.keys()].filter((name) => name.startsWith("keys/")).map((name) => name.slice(5));
      const made = keys.find((name) => name !== side.open().keyId && !known.has(parseFileId(name)));
      if (!isCrashed) assert.ok(made !== undefined, "the key is not there");
      if (made !== undefined) side.passwords.set(password, parseFileId(made));
    }
    if (removedPassword !== undefined) {
      const isThere = side.store.files.has(`keys/${side.passwords.get(removedPassword) ?? ""}`);
      if (!isCrashed) assert.ok(!isThere, "the key is still there");
      if (!isThere) side.passwords.delete(removedPassword);
    }
    for (const id of side.passwords.values()) assert.ok(side.store.files.has(`keys/${id}`), `key ${id} was lost`);
    const tried = password !== undefined && side.passwords.has(password) ? password : undefined;
    if (tried === undefined) return;
    const opened = await openRepository(onlyKey(side.store, side.passwords.get(tried)), { password: tried, signal });
    assert.deepEqual(opened.config, side.open().config);
  }
}

/** The same store with one key file, so that no costly one is tried. */
function onlyKey(store: MemoryStore, id: FileId | undefined): MemoryStore {
  const copy = createMemoryStore();
  for (const [name, bytes] of store.files) {
    if (name === "config" || name === `keys/${id ?? ""}`) copy.files.set(name, bytes);
  }
  return copy;
}
