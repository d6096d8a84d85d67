import { runDatabaseExport, runExport, runPlainExport } from "../../app/verbs.ts";
import { Failure } from "../../base/errors.ts";
import { DUMP_FORMATS, type DumpFormat } from "../../job/summaries.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Invocation, Verb } from "../command.ts";
import { formatDatabaseExport, formatExport } from "../reports/export.ts";
import { formatPlainExport } from "../reports/plain.ts";

export const exportVerb: Verb = async (invocation) => {
  const { given, globals, surroundings } = invocation;
  const named = { point: given.argument(0), file: given.argument(1) };
  const passwordFile = given.text("passwordFile");
  if (given.has("plain")) {
    refuseBeside(invocation);
    const flags = { point: named.point, folder: named.file };
    const summary = await runPlainExport(globals, flags, surroundings);
    answer(invocation, summary, formatPlainExport);
    return tellFindings(invocation, summary.findings);
  }
  const format = readFormat(invocation);
  if (format === undefined) {
    answer(invocation, await runExport(globals, { ...named, passwordFile }, surroundings), formatExport);
    return 0;
  }
  if (passwordFile !== undefined) {
    throw new Failure("usage/invalid", "a file for pg_restore or psql is not encrypted, and takes no password", {
      hint: "Leave out --password-file; or leave out --only and --format for an encrypted file of the whole point.",
    });
  }
  const summary = await runDatabaseExport(globals, { ...named, format }, surroundings);
  answer(invocation, summary, formatDatabaseExport);
  return tellFindings(invocation, summary.findings);
};

function refuseBeside({ given }: Invocation): void {
  if (given.list("only").length === 0 && ["format", "passwordFile"].every((name) => given.text(name) === undefined))
    return;
  throw new Failure("usage/invalid", "--plain writes everything into a folder, and encrypts nothing", {
    hint: "Leave out --only, --format and --password-file; or leave out --plain.",
  });
}

/** Undefined: the whole point is asked for. */
function readFormat({ given }: Invocation): DumpFormat | undefined {
  const only = given.list("only");
  const format = DUMP_FORMATS.find((known) => known === given.text("format"));
  if (only.length === 0 && given.text("format") === undefined) return undefined;
  if (only.length > 0 && format !== undefined) return format;
  throw new Failure("usage/invalid", only.length === 0 ? "--format needs --only database" : "--only needs --format", {
    hint: "'--only database --format custom' writes the database for pg_restore; without both, the whole point goes into one encrypted file.",
  });
}
