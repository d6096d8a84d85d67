import { runDumpImport, runImport } from "../../app/verbs.ts";
import { Failure } from "../../base/errors.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Invocation, Verb } from "../command.ts";
import { formatImport, formatNotImported } from "../reports/export.ts";
import { formatDumpImport } from "../reports/plain.ts";

/** Options that say something of a dump alone. */
const OF_DUMPS = [
  ["--storage", "storage"],
  ["--env", "env"],
  ["--made-at", "madeAt"],
  ["--name", "name"],
] as const;

export const importVerb: Verb = async (invocation) => {
  const { given, globals, surroundings, printer, redactor, look } = invocation;
  const dump = given.text("database");
  const file = given.optionalArgument(0);
  refuseBoth(invocation, file, dump);
  if (dump !== undefined) {
    const text = (name: string) => given.text(name);
    const flags = {
      dump,
      storage: text("storage"),
      envFile: text("env"),
      madeAt: text("madeAt"),
      name: text("name"),
      to: text("to"),
    };
    const summary = await runDumpImport(globals, flags, surroundings);
    answer(invocation, summary, formatDumpImport);
    return tellFindings(invocation, summary.findings);
  }
  const flags = { file: file ?? "", to: given.text("to"), passwordFile: given.text("passwordFile") };
  const summary = await runImport(globals, flags, surroundings);
  answer(invocation, summary, formatImport);
  if (summary.failed.length === 0) return 0;
  if (!invocation.mode.json) printer.note(formatNotImported(redactor.redactDeep(summary), look));
  return 13;
};

function refuseBoth({ given }: Invocation, file: string | undefined, dump: string | undefined): void {
  const wrong = OF_DUMPS.find(([, name]) => dump === undefined && given.text(name) !== undefined)?.[0];
  if (wrong !== undefined) {
    throw new Failure("usage/invalid", `${wrong} needs --database`, {
      hint: "It says something of a dump: name that with --database DUMP.",
    });
  }
  if (dump !== undefined && given.text("passwordFile") !== undefined) {
    throw new Failure("usage/invalid", "a dump has no password, so --password-file means nothing", {
      hint: "Leave it out. The repository's own password is the configuration's.",
    });
  }
  if ((file === undefined) === (dump === undefined)) {
    throw new Failure(
      "usage/invalid",
      file === undefined ? "nothing is named to import" : "both FILE and --database are given",
      {
        hint: "'chatkeep import FILE' takes what 'chatkeep export' wrote, 'chatkeep import --database DUMP' a dump of pg_dump.",
      },
    );
  }
}
