import { formatSeconds, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import { shellWord } from "../../point/restore-script.ts";
import type {
  RecoveredServer,
  ServersSummary,
  StartedServerSummary,
  StoppedServersSummary,
} from "../../job/server-summary.ts";
import type { Look } from "../look.ts";
import { formatPairs, formatTable } from "../table.ts";
import { formatAge, formatUtc } from "../when.ts";

/**
 * What has to be copied stands in lines of its own, whatever the width.
 * @param given by which the command was told where to look: the next ones are told likewise.
 */
export function formatStarted(
  { started, repository, seconds }: StartedServerSummary,
  look: Look,
  given: { config?: string | undefined; repository?: string | undefined } = {},
): string[] {
  const config = given.config === undefined ? "" : ` --config ${shellWord(given.config)}`;
  const from = given.repository === undefined ? "" : ` --repository ${shellWord(repository)}`;
  const { id, access } = started;
  return [
    `${look.paint("green", "✓ runs")}, read-only, as server ${look.paint("bold", id)}; ready in ${formatSeconds(seconds)}`,
    ...formatPairs(aboutPairs(started), look, "  "),
    "",
    "to look",
    `  psql '${access?.url ?? ""}'`,
    `  chatkeep${config}${from} ls ${pointWord(started)} storage`,
    "to end it, and remove all of it",
    `  chatkeep${config} restore --stop ${id}`,
  ];
}

function aboutPairs({ point, lastCommitAt, replayedTo, server, folder, access }: RecoveredServer): [string, string][] {
  const commit: [string, string][] =
    replayedTo === null ? [] : [["last commit", `${lastCommitAt ?? "before the base"}, lsn:${replayedTo}`]];
  return [
    [replayedTo === null ? "restore point" : "moment", /^[0-9a-f]{64}$/.test(point) ? shortId(point) : point],
    ...commit,
    ["server", server],
    ["where", access === null ? "" : whereOf(access)],
    ["password", access?.passwordFile ?? ""],
    ["folder", folder],
  ];
}

function whereOf({ host, port, user, database }: NonNullable<RecoveredServer["access"]>): string {
  const at = host.startsWith("/") ? `socket in ${host}` : `${host}:${port}`;
  return `${at}, database ${database}, as ${user}`;
}

function placeOf({ state, access }: RecoveredServer): string {
  if (state === "unseen") return "cannot be seen from here";
  return access === null ? "is being recovered" : whereOf(access);
}

function pointWord({ point }: RecoveredServer): string {
  return /^[0-9a-f]{64}$/.test(point) ? shortId(point) : point;
}

export function formatServers({ servers }: Pick<ServersSummary, "servers">, look: Look): string[] {
  if (servers.length === 0) return ["no recovered server runs"];
  return formatTable(
    [
      { title: "server", cell: ({ id }) => id },
      { title: "since", cell: ({ since }) => `${formatUtc(since)}, ${formatAge(since, look.nowMs)}`, leaveOut: 1 },
      { title: "as of", cell: pointWord },
      { title: "where", cell: placeOf, leaveOut: 2 },
    ],
    servers,
    look,
  );
}

export function formatStopped({ stopped, others }: StoppedServersSummary): string[] {
  if (stopped.length === 0) {
    const these = others.length === 0 ? "" : `; there is ${others.join(", ")} ('chatkeep restore --run' says of what)`;
    return [`no such server runs: nothing is left of it${these}`];
  }
  return [`ended, and nothing is left of ${plural(stopped.length, "server")}: ${stopped.join(", ")}`];
}
