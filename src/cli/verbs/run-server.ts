/** `restore --run` and `restore --stop`: a server to look at a database as it was. */
import { Failure } from "../../base/errors.ts";
import type { StartedServerSummary } from "../../job/server-summary.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Invocation } from "../command.ts";
import type { ExitStatus } from "../exits.ts";
import type { Look } from "../look.ts";
import { formatServers, formatStarted, formatStopped } from "../reports/run-server.ts";

/** What goes with `--run`, as commander names it. */
const WITH_RUN = new Set(["run", "to", "port", "atTime"]);

/** Every other option of the verb, and how it is typed. */
const OTHERS = {
  databaseUrl: "--database-url",
  only: "--only",
  withRoles: "--with-roles",
  table: "--table",
  schemaOnly: "--schema-only",
  migrate: "--migrate",
  outbound: "--outbound",
  storage: "--storage",
  missing: "--missing",
  onto: "--onto",
  asClone: "--as-clone",
  frontendUrl: "--frontend-url",
  anonymise: "--anonymise",
  replace: "--replace",
  plan: "--plan",
  resume: "--resume",
  discardPrevious: "--discard-previous",
  to: "--to",
  run: "--run",
  port: "--port",
  stop: "--stop",
} as const;

export function isServerMeant({ given }: Invocation): boolean {
  return given.has("run") || given.has("stop") || given.has("port");
}

export async function runServer(invocation: Invocation): Promise<ExitStatus> {
  const { given, globals, surroundings } = invocation;
  if (given.has("stop")) return await stop(invocation);
  if (!given.has("run")) {
    throw new Failure("usage/invalid", "--port is for a server that is left running", { hint: "Say --run, too." });
  }
  refuseOthers(invocation, "--run", WITH_RUN);
  const app = await import("../../app/run-server.ts");
  const point = given.optionalArgument(0);
  if (point === undefined) {
    refuseOthers(invocation, "--run without a restore point, which shows what runs,", new Set(["run"]));
    answer(invocation, await app.listServers(globals, surroundings), formatServers, { isAnswer: true });
    return 0;
  }
  const summary = await app.runServer(globals, point, { to: given.text("to"), port: given.text("port") }, surroundings);
  const format = (shown: StartedServerSummary, look: Look) => formatStarted(shown, look, globals);
  answer(invocation, summary, format, { isAnswer: true });
  return tellFindings(invocation, summary.findings);
}

async function stop(invocation: Invocation): Promise<ExitStatus> {
  const { given, globals, surroundings } = invocation;
  refuseOthers(invocation, "--stop", new Set(["stop"]));
  const name = given.text("stop");
  if (given.optionalArgument(0) !== undefined) {
    throw new Failure("usage/invalid", "--stop takes the name of a server, and no restore point", {
      hint: "'chatkeep restore --run' shows what runs.",
    });
  }
  const app = await import("../../app/run-server.ts");
  answer(invocation, await app.stopServers(globals, name, surroundings), formatStopped);
  return 0;
}

function refuseOthers({ given }: Invocation, flag: string, allowed: ReadonlySet<string>): void {
  const isGiven = (name: string) => given.has(name) || given.list(name).length > 0;
  const other = Object.entries(OTHERS).find(([name]) => !allowed.has(name) && isGiven(name));
  if (other === undefined) return;
  throw new Failure("usage/invalid", `${flag} and ${other[1]} do not go together`, {
    hint: "A server that is left running is looked at: nothing is restored. 'chatkeep help restore' has what goes with it.",
  });
}
