/**
 * The journal of a restore into its own place: one small file that says at any moment what was begun, what is done, and
 * what an undo needs. It is replaced whole and durable before the change that it tells of, so that a restore that was
 * killed at any instant can be gone on with or undone.
 */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Failure, messageOf } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import type { InstallationKind } from "../../installation/installation.ts";
import { makeFolders, syncFolder } from "../../system/folders.ts";
import { replaceFile } from "../../system/replace-file.ts";
import { STAGE_NAMES, type StageName, type StageOptions, type StageResult } from "./stage.ts";

const SCHEMA = 1;
const NAME = "journal.json";

/** `waiting`: nothing of it was done. `begun`: some of it may be done. */
export type StageState = "waiting" | "begun" | "done" | "undone";

export interface StageEntry {
  readonly name: StageName;
  readonly state: StageState;
  /** What the stage keeps, plain JSON; absent where it keeps nothing yet. */
  readonly kept?: unknown;
  /** Of its last call, or of its undo. */
  readonly result?: StageResult;
  /** Of all calls to apply it together. */
  readonly seconds: number;
  /** Of all calls to undo it. */
  readonly undoSeconds?: number;
  /** What had to be done before it could be gone on with, in any run, … */
  readonly seen?: Pick<StageResult, "lines" | "findings">;
  /** … or undone. */
  readonly undoSeen?: Pick<StageResult, "lines" | "findings">;
}

/** `undoing`: a rollback was begun, and nothing else can go on from there. */
export type JournalState = "restoring" | "done" | "undoing" | "undone";

/** By what a place is known again. */
export interface PlaceIdentity {
  readonly kind: InstallationKind;
  readonly root?: string | undefined;
  /** A Compose project, a container, or a workload of a cluster, in words. */
  readonly choice?: string | undefined;
  /** The name of the database that its application uses. */
  readonly database: string;
  /** As it was before. */
  readonly frontendUrl?: string | undefined;
}

export interface JournalValue {
  readonly schema: typeof SCHEMA;
  /** The name of its folder. */
  readonly id: string;
  /** `chatkeep 1.0.0` */
  readonly program: string;
  /** RFC 3339. */
  readonly beganAt: string;
  readonly state: JournalState;
  /** RFC 3339: when all was done, or undone. */
  readonly endedAt?: string;
  readonly point: string;
  readonly snapshot: string;
  /** RFC 3339: when the point was taken. */
  readonly takenAt: string;
  /** Of the point. */
  readonly installation: { readonly id: string; readonly name: string };
  /** As `--repository` takes it. */
  readonly repository: string;
  readonly parts: readonly string[];
  readonly options: StageOptions;
  readonly place: PlaceIdentity;
  /** What the new database is called until the swap; absent where the database is not restored. */
  readonly fresh?: string | undefined;
  /** What its plan found: the end tells it, after however many calls. */
  readonly findings?: readonly Finding[];
  /** In the order in which they are done. */
  readonly stages: readonly StageEntry[];
}

/** Where a journal lies. Tests have one that fails. */
export interface JournalFile {
  /** Undefined where there is none. */
  read(): Promise<string | undefined>;
  /** Returns when it is durable; a reader sees the old text or the new one. */
  replace(text: string): Promise<void>;
}

export class Journal {
  readonly #file: JournalFile;
  #value: JournalValue;

  private constructor(file: JournalFile, value: JournalValue) {
    this.#file = file;
    this.#value = value;
  }

  /** Begins a new one. @throws Failure `restore/record` when it cannot be written. */
  static async begin(file: JournalFile, head: Omit<JournalValue, "schema" | "state">): Promise<Journal> {
    const journal = new Journal(file, { schema: SCHEMA, state: "restoring", ...head });
    await journal.#write(journal.#value);
    return journal;
  }

  /** Undefined where there is none. @throws Failure `restore/record` for one that is cut, damaged or of a newer version. */
  static async open(file: JournalFile, path: string): Promise<Journal | undefined> {
    const text = await file.read();
    return text === undefined ? undefined : new Journal(file, parseJournal(text, path));
  }

  get value(): JournalValue {
    return this.#value;
  }

  /** Undefined where this restore does not have that stage. */
  stage(name: StageName): StageEntry | undefined {
    return this.#value.stages.find((stage) => stage.name === name);
  }

  /** @throws Failure `restore/record` when it cannot be written: then what it says is as before. */
  async setStage(name: StageName, change: Partial<Omit<StageEntry, "name">>): Promise<void> {
    const stages = this.#value.stages.map((stage) => (stage.name === name ? { ...stage, ...change } : stage));
    await this.#write({ ...this.#value, stages });
  }

  /** @throws Failure `restore/record` when it cannot be written. */
  async set(change: Partial<Pick<JournalValue, "state" | "endedAt" | "options">>): Promise<void> {
    await this.#write({ ...this.#value, ...change });
  }

  async #write(value: JournalValue): Promise<void> {
    try {
      await this.#file.replace(`${JSON.stringify(value, null, 1)}\n`);
    } catch (cause) {
      throw new Failure("restore/record", `the journal of the restore cannot be written: ${messageOf(cause)}`, {
        hint: "Make room on the disk of state-dir and let Chatkeep write there: nothing is changed that is not recorded first.",
        cause,
      });
    }
    this.#value = value;
  }
}

/** The journal in a restore's own folder. */
export function journalFile(folder: string): JournalFile {
  const path = journalPath(folder);
  return {
    async read() {
      return await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
        if (cause.code === "ENOENT" || cause.code === "ENOTDIR") return undefined;
        throw unreadable(path, cause.message, "Run Chatkeep as the user that ran the restore.", cause);
      });
    },
    async replace(text) {
      await makeDurableFolder(folder);
      await replaceFile(path, text, 0o600);
    },
  };
}

export function journalPath(folder: string): string {
  return join(folder, NAME);
}

/** A folder is there after a power cut when the one above it was synced, and so on. */
async function makeDurableFolder(folder: string): Promise<void> {
  await makeFolders(folder, 0o700);
  for (const above of [dirname(folder), dirname(dirname(folder))]) {
    await syncFolder(above).catch(() => {});
  }
}

const JOURNAL_STATES: readonly string[] = ["restoring", "done", "undoing", "undone"] satisfies JournalState[];
const STAGE_STATES: readonly string[] = ["waiting", "begun", "done", "undone"] satisfies StageState[];

/** @param path for people. @throws Failure `restore/record`. */
export function parseJournal(text: string, path: string): JournalValue {
  let value: Partial<JournalValue> | null;
  try {
    value = JSON.parse(text) as Partial<JournalValue> | null;
  } catch (cause) {
    throw unreadable(path, "it is cut or damaged", BY_HAND, cause);
  }
  const schema: unknown = value?.schema;
  if (typeof schema === "number" && schema > SCHEMA) {
    throw unreadable(path, "a newer Chatkeep made it", "Use the version that began the restore, or a newer one.");
  }
  if (value === null || schema !== SCHEMA || !isWhole(value)) throw unreadable(path, "it is damaged", BY_HAND);
  const unknown = value.stages.find(({ name }) => !STAGE_NAMES.includes(name));
  if (unknown === undefined) return value;
  throw unreadable(
    path,
    `this version knows no stage '${unknown.name}'`,
    "Use the version that began the restore, or a newer one.",
  );
}

const BY_HAND =
  "Put it back from a copy of that disk. Without it, 'chatkeep doctor' names the database that was put aside, and 'chatkeep rollback DATABASE' puts that back.";

function unreadable(path: string, why: string, hint: string, cause?: unknown): Failure {
  return new Failure("restore/record", `the journal of a restore, '${path}', cannot be read: ${why}`, { hint, cause });
}

function isWhole(value: Partial<JournalValue>): value is JournalValue {
  const { id, state, point, snapshot, repository, options, place, stages } = value;
  return (
    [id, point, snapshot, repository, place?.database].every((text) => typeof text === "string") &&
    JOURNAL_STATES.includes(state ?? "") &&
    typeof options === "object" &&
    Array.isArray(stages) &&
    stages.every(
      (stage: Partial<StageEntry> | null) =>
        typeof stage?.name === "string" &&
        STAGE_STATES.includes(stage.state ?? "") &&
        typeof stage.seconds === "number",
    )
  );
}
