/**
 * What a server says to a session of replication, as failures whose code tells a follower what helps: to try again
 * (`database/unreachable`, `database/full`, `wal/slot-in-use`), a new base (`wal/gone`), or a person (all others).
 */
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import { describeAddress, type ServerAddress } from "./address.ts";
import { quoteIdentifier } from "./names.ts";
import { serverFailure, sqlState } from "./server-errors.ts";

type Rule = readonly [said: RegExp, make: (text: string, address: ServerAddress, cause: unknown) => Failure];

/** By the server's words, which it was asked for in English where we may; SQLSTATEs are too coarse here (XX000, 58P01, 55000). */
const RULES: readonly Rule[] = [
  [
    /requested WAL segment .* has already been removed|can no longer access replication slot|cannot read from .*replication slot/,
    (text, address, cause) =>
      gone(`the server no longer has the part of its log that is needed (${describeAddress(address)}): ${text}`, cause),
  ],
  [
    /is not in this server's history|is ahead of the WAL flush position|requested timeline .* does not exist|requested timeline .* is not/,
    (text, address, cause) =>
      gone(`the server's log has another history than what was followed (${describeAddress(address)}): ${text}`, cause),
  ],
  [
    /replication slot .* is active for PID/,
    (text, address, cause) =>
      new Failure(
        "wal/slot-in-use",
        `somebody else reads from our replication slot (${describeAddress(address)}): ${text}`,
        {
          hint: "Does another Chatkeep follow this installation? A session of ours that was cut is let go of within the server's wal_sender_timeout.",
          cause,
        },
      ),
  ],
  [
    /all replication slots are in use|can only be used if max_replication_slots > 0/,
    (_, address, cause) =>
      new Failure("database/full", `the server has no replication slot left (${describeAddress(address)})`, {
        hint: "Raise max_replication_slots at the server and restart it, or drop a slot that nobody needs: select * from pg_replication_slots.",
        cause,
      }),
  ],
  [
    /exceeds max_wal_senders/,
    (_, address, cause) =>
      new Failure("database/full", `the server has no walsender left for us (${describeAddress(address)})`, {
        hint: "Raise max_wal_senders at the server and restart it: following the log takes one, a base another.",
        cause,
      }),
  ],
  [
    /replication role|permission denied to start WAL sender|permission denied to use replication slots/,
    (_, address, cause) =>
      new Failure("database/denied", `'${address.user}' may not replicate (${describeAddress(address)})`, {
        hint: `A superuser allows it: ALTER ROLE ${quoteIdentifier(address.user)} REPLICATION;`,
        cause,
      }),
  ],
  [
    /no pg_hba\.conf entry for replication connection|pg_hba\.conf rejects replication connection/,
    (text, address, cause) =>
      new Failure(
        "database/denied",
        `the server lets nobody replicate from here (${describeAddress(address)}): ${text}`,
        {
          hint: "pg_hba.conf needs a line for the database 'replication', which 'all' does not mean; then the server is reloaded: select pg_reload_conf().",
          cause,
        },
      ),
  ],
  [
    /unsupported startup parameter: replication|syntax error at or near "IDENTIFY_SYSTEM"|replication connections? (is|are) not (allowed|supported)/i,
    (_, address, cause) =>
      new Failure(
        "database/unsuitable",
        `a pooler stands in between, which passes no replication on (${describeAddress(address)})`,
        {
          hint: "Give the server's own address for following its log.",
          cause,
        },
      ),
  ],
];

function gone(message: string, cause: unknown): Failure {
  return new Failure("wal/gone", message, {
    hint: "What was kept so far is intact. A new base begins the next range of moments; a slot, or a larger wal_keep_size, makes the server keep what is not yet here.",
    cause,
  });
}

/** What tells a follower what helps, of a server that speaks its own language to whoever is no superuser: by SQLSTATE and routine. */
const WORDS: Readonly<Record<string, string>> = {
  "58P01 WalSndSegmentOpen": "requested WAL segment which was asked for has already been removed",
  "55000 RaiseSlotInvalidationError": "can no longer access replication slot",
  "55006 ReplicationSlotAcquire": "replication slot which was asked for is active for PID",
  "42501 InitPostgres": "permission denied to start WAL sender",
  "53400 ReplicationSlotCreate": "all replication slots are in use",
};

/** Nobody has asked for English yet when somebody is not let in. */
const HOST = /(?<![\w.])(?:\d+(?:\.\d+){3}|(?:[0-9a-f]*:){2,}[0-9a-f.]*|\[local\])(?![\w.])/;

/** What a server of another language would say in English, of what a follower is helped by; empty where nothing is known of it. */
export function wordsOf(error: unknown): string {
  const { routine } = (error ?? {}) as { routine?: unknown };
  const by = `${sqlState(error) ?? ""} ${typeof routine === "string" ? routine : ""}`;
  if (by !== "28000 ClientAuthentication") return WORDS[by] ?? "";
  const said = messageOf(error);
  const host = HOST.exec(said)?.[0];
  if (host === undefined) return "";
  const rest = /SSL[ -]?\p{Letter}{4}/u.test(said) ? ", SSL encryption" : "";
  return `no pg_hba.conf entry for replication connection from host "${host}", user ""${rest}`;
}

/** Anything thrown by a session of replication, as a failure. Failures pass through. */
export function replicationFailure(error: unknown, address: ServerAddress): Failure {
  if (isFailure(error)) return error;
  const text = messageOf(error);
  const inEnglish = wordsOf(error);
  const rule = RULES.find(([said]) => said.test(text) || said.test(inEnglish));
  if (rule !== undefined) return rule[1](text, address, error);
  // The library knows no message that begins so: what follows is no answer of a server.
  if (sqlState(error) === undefined && text.startsWith("received invalid response")) {
    return new Failure(
      "database/unreachable",
      `the connection to the server is damaged (${describeAddress(address)})`,
      {
        hint: "Something in between changed what was sent; try again.",
        cause: error,
      },
    );
  }
  return serverFailure(error, address);
}
