/** What a server logs when it cannot be recovered, as a failure that says what to do; and what it logs when it was. */
import { type ErrorCode, Failure, isFailure } from "../base/errors.ts";
import { extensionPackages } from "./scratch-source.ts";

interface Case {
  said: RegExp;
  explain: (match: RegExpExecArray, major: number) => { code: ErrorCode; message: string; hint: string };
}

const EARLIER_BASE = "Take an earlier moment, or one that an earlier base serves: 'chatkeep list' shows the window.";

const NO_EARLIER_BASE = "An earlier base is needed: 'chatkeep list' shows from when to when any moment can be had.";
const BEFORE_BASE = "that moment lies before the end of the base that was taken for it";
const BEHIND_LOG = "the log ends before that moment";

/**
 * True where an earlier base may serve the moment: this one was being taken then, or the server's clock was set back before it was, and
 * what was committed at that time and later lies before it.
 */
export function needsEarlierBase(error: unknown): boolean {
  return isFailure(error, "moment/outside") && (error.message === BEFORE_BASE || error.message === BEHIND_LOG);
}

export function earlierBaseNeeded(): Failure {
  return new Failure("moment/outside", BEFORE_BASE, { hint: NO_EARLIER_BASE });
}

/** The first that fits counts. */
const CASES: readonly Case[] = [
  {
    said: /recovery ended before configured recovery target was reached/,
    explain: () => ({
      code: "moment/outside",
      message: BEHIND_LOG,
      hint: "'chatkeep list' shows from when to when any moment can be had.",
    }),
  },
  {
    said: /requested recovery stop point is before (?:consistent recovery point|end of online backup)/,
    explain: () => ({
      code: "moment/outside",
      message: BEFORE_BASE,
      hint: NO_EARLIER_BASE,
    }),
  },
  {
    said: /No space left on device/,
    explain: () => ({
      code: "store/full",
      message: "the disk is full where the database was being recovered",
      hint: "Free some space, or set TMPDIR to a folder on a larger disk.",
    }),
  },
  {
    said: /could not locate (?:required|a valid) checkpoint record|could not find redo location|invalid checkpoint record/,
    explain: () => ({
      code: "recovery/damaged",
      message: "the log does not hold the place at which the base begins",
      hint: `Something was removed between the base and that moment. ${EARLIER_BASE}`,
    }),
  },
  {
    said: /WAL ends before (?:end of online backup|consistent recovery point)/,
    explain: () => ({
      code: "recovery/damaged",
      message: "the log ends, or is damaged, before the base is consistent",
      hint: EARLIER_BASE,
    }),
  },
  {
    said: /(?:requested|recovery target) timeline \d+ (?:is not a child of this server's history|does not exist)/,
    explain: ([said]) => ({
      code: "recovery/damaged",
      message: `the base and the log do not belong to one history: ${said}`,
      hint: `Is the history of that timeline there? ${EARLIER_BASE}`,
    }),
  },
  {
    said: /resource manager with ID (\d+) not registered/,
    explain: ([, id]) => ({
      code: "recovery/failed",
      message: `the log has records of an extension that has a resource manager of its own (${id ?? ""}), and that was not loaded`,
      hint: "Chatkeep loads no libraries while it recovers. An ordinary restore point holds the rows of such tables, too.",
    }),
  },
  {
    said: /could not access file "(?:\$libdir\/)?([^"]+)"/,
    explain: ([, library = ""], major) => ({
      code: "program/missing",
      message: `the library '${library}' of the database's server is not here`,
      hint: extensionPackages(major, [library]),
    }),
  },
  {
    said: /WAL was generated with wal_level=minimal/,
    explain: () => ({
      code: "recovery/failed",
      message:
        "between the base and that moment the server ran with wal_level = minimal, and wrote too little to be replayed",
      hint: "Take a moment from before that, or one from after the next base: 'chatkeep list' shows the bases' window. A restore point needs none of this.",
    }),
  },
  {
    said: /maximum number of prepared transactions reached|insufficient parameter settings/,
    explain: () => ({
      code: "recovery/failed",
      message: "the server had larger settings in that time than when the base was taken",
      hint: "Take a moment that a newer base serves.",
    }),
  },
  {
    said: /database files are incompatible with server|incompatible with this version of PostgreSQL/,
    explain: () => ({
      code: "recovery/failed",
      message: "this machine's server is of the same major version and built in another way",
      hint: "A server from the same packages is needed, on the same kind of processor: name the image of the database as drill.image.",
    }),
  },
  {
    said: /invalid data in file "([^"]+)"|could not open file "(global\/pg_control|pg_xact\/\w+|base\/[\w/.]+)"/,
    explain: ([, invalid, lost]) => ({
      code: "recovery/damaged",
      message: `the base is not whole: ${invalid ?? lost ?? ""} is damaged or not there`,
      hint: EARLIER_BASE,
    }),
  },
];

/**
 * @param log what the server printed.
 * @param major its version.
 */
export function recoveryFailure(log: string, major: number, cause?: unknown): Failure {
  for (const { said, explain } of CASES) {
    const match = said.exec(log);
    if (match === null) continue;
    const { code, message, hint } = explain(match, major);
    return new Failure(code, message, { hint, cause });
  }
  const words = log.split("\n").filter((line) => /\b(?:FATAL|PANIC|ERROR|HINT|DETAIL):/.test(line));
  const last = (words.length > 0 ? words : log.split("\n")).slice(-5).join("\n").trim();
  return new Failure("recovery/failed", "the database could not be recovered", {
    hint: last === "" ? "The server logged nothing that explains it." : `The server said: ${last}`,
    cause,
  });
}

/** True when the server has logged that it takes connections. */
export function isReady(log: string): boolean {
  return log.includes("database system is ready to accept connections");
}
