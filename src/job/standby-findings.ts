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

/** Tables that only a primary has. */
export function unloggedFindings(tables: readonly TableFacts[]): Finding[] {
  const unlogged = tables.filter(({ isUnlogged }) => isUnlogged);
  if (unlogged.length === 0) return [];
  const names = listSome(unlogged.map((table) => shownName(table)));
  return [
    {
      kind: "unlogged-tables",
      level: "warning",
      message: `a standby has no rows of ${plural(unlogged.length, "unlogged table")}, so none are saved: ${names}`,
      hint: "Save from the primary, or make it an ordinary table: ALTER TABLE … SET LOGGED.",
    },
  ];
}
