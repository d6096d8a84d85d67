/** What must be known of a backup that reads a standby in place of the server that Chatwoot uses. */
import { formatSeconds, listSome, plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { describeAddress, type ServerAddress } from "../postgres/address.ts";
import type { TableFacts } from "../postgres/catalogue.ts";
import { shownName } from "../postgres/names.ts";
import type { StandbyState } from "../postgres/standby.ts";

/** How far behind its primary a standby is. Nothing where it is connected and near. */
export function lagFindings({ isReceiving, lagSeconds }: StandbyState): Finding[] {
  const isFar = lagSeconds === null || lagSeconds > LIMITS.standbyBehindSeconds;
  if (!isFar && isReceiving) return [];
  const behind =
    lagSeconds === null
      ? "the standby does not tell how far it is behind its primary"
      : `the last transaction that the standby applied is ${formatSeconds(lagSeconds)} old`;
  return [
    {
      kind: "standby-behind",
      level: isFar ? "warning" : "note",
      message: isReceiving ? behind : `${behind}, and it is not connected to its primary`,
      hint: "What came later is in the next restore point. Ask pg_stat_wal_receiver and the standby's log why: is its primary reachable, is replay paused, does somebody read for long?",
    },
  ];
}

/** Where a standby was asked for, and the server is none: it may have been promoted beside a primary that goes on. */
export function noStandbyFinding(address: ServerAddress): Finding {
  return {
    kind: "standby-promoted",
    level: "warning",
    message: `the server that was read is no standby: ${describeAddress(address)}`,
    hint: "If it was promoted and the old primary still runs, Chatwoot may write where nothing is saved. Mend database.standby-url, or leave --from-standby away.",
  };
}

/** Why what was read has no rows of tables that are not in the log. */
const WITHOUT_ROWS = {
  standby: { who: "a standby", instead: "Save from the primary" },
  moment: { who: "the write-ahead log, and so a moment,", instead: "Restore points before and after it have them" },
} as const;

export function unloggedOf(tables: readonly TableFacts[]): string[] {
  return tables.filter(({ isUnlogged }) => isUnlogged).map((table) => shownName(table));
}

/** Tables whose rows only a primary has. @param names as they are shown. */
export function unloggedFindings(names: readonly string[], from: keyof typeof WITHOUT_ROWS): Finding[] {
  if (names.length === 0) return [];
  const { who, instead } = WITHOUT_ROWS[from];
  return [
    {
      kind: "unlogged-tables",
      level: "warning",
      message: `${who} has no rows of ${plural(names.length, "unlogged table")}, so none are saved: ${listSome(names)}`,
      hint: `${instead}; or make it an ordinary table: ALTER TABLE … SET LOGGED.`,
    },
  ];
}
