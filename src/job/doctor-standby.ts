/** Whether the standby that the configuration names is one of the server that Chatwoot uses, and what it does to readers. */
import { formatSeconds } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { describeAddress, type ServerAddress } from "../postgres/address.ts";
import { withConflictRetries } from "../postgres/conflict.ts";
import { connect } from "../postgres/connect.ts";
import { readServerFacts, type ServerFacts } from "../postgres/server-facts.ts";
import { readStandbyState } from "../postgres/standby.ts";
import { lagFindings, noStandbyFinding } from "./standby-findings.ts";
import type { DoctorSummary } from "./summaries.ts";

interface Examined {
  facts: DoctorSummary["facts"];
  findings: Finding[];
}

/** What the standby ends is asked again. @throws Failure of the `database/` codes when one of the two cannot be reached. */
export async function examineStandby(
  standby: ServerAddress,
  primary: ServerAddress,
  options: { signal: AbortSignal },
): Promise<Examined> {
  return await withConflictRetries(async () => await examineOnce(standby, primary, options));
}

async function examineOnce(
  standby: ServerAddress,
  primary: ServerAddress,
  options: { signal: AbortSignal },
): Promise<Examined> {
  await using connection = await connect(standby, options);
  const state = await readStandbyState(connection);
  if (state === undefined) return { facts: [], findings: [noStandbyFinding(standby)] };
  const server = await readServerFacts(connection);
  const [row] = await connection.query<{ delay: string; feedback: string }>(
    "select current_setting('max_standby_streaming_delay') as delay, current_setting('hot_standby_feedback') as feedback",
  );
  const lag = formatLag(state.lagSeconds);
  const waits = `max_standby_streaming_delay ${row?.delay}, hot_standby_feedback ${row?.feedback}`;
  const facts = [
    { name: "standby", value: `PostgreSQL ${server.version}, ${lag}; ${waits}`, from: describeAddress(standby) },
  ];
  const findings = lagFindings(state);
  await using other = await connect(primary, options);
  if (!areOneCluster(server, await readServerFacts(other))) findings.push(otherCluster(standby, primary));
  return { facts, findings };
}

function formatLag(lagSeconds: number | null): string {
  if (lagSeconds === null) return "lag unknown";
  return lagSeconds === 0 ? "not behind" : `${formatSeconds(lagSeconds)} behind`;
}

/** Where a server keeps its identity to itself, nothing speaks against it. */
function areOneCluster(one: ServerFacts, other: ServerFacts): boolean {
  if (one.systemIdentifier === "" || other.systemIdentifier === "") return true;
  return one.systemIdentifier === other.systemIdentifier && one.databaseOid === other.databaseOid;
}

function otherCluster(standby: ServerAddress, primary: ServerAddress): Finding {
  return {
    kind: "standby-other",
    level: "alarm",
    message: `${describeAddress(standby)} is not a standby of the database that Chatwoot uses, ${describeAddress(primary)}`,
    hint: "'backup --from-standby' would save another database: mend database.standby-url.",
  };
}
