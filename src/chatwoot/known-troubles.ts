/** What is known of releases of Chatwoot, and matters to who backs one up: each with its source. */
import { plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { compareVersions, type SchemaGap } from "./versions.ts";

interface Trouble {
  /** The first release that has it. */
  from: string;
  /** The first that has it no more. */
  until: string;
  /** What follows `Chatwoot 3.16.0`. */
  says: string;
  hint: string;
}

const TROUBLES: readonly Trouble[] = [
  {
    // chatwoot/chatwoot #8862: migrations until 2.16 were squashed in 3.6.0; #9795: what then fails.
    from: "0.1.0",
    until: "2.17.0",
    says: "cannot be upgraded to 3.6 or newer at once: that no longer has its migrations",
    hint: "Upgrade to 3.5.2 first, then to 4.1.0, then on. Make a restore point before each step.",
  },
  {
    // chatwoot/chatwoot #12088 (still open), #11585, #11777, #12304.
    from: "2.17.0",
    until: "4.1.0",
    says: "cannot be upgraded to 4.2 or newer at once: a migration there fails wherever there are users",
    hint: "Upgrade to 4.1.0 first, then on. Make a restore point before each step.",
  },
];

/** The first release that needs pgvector: its migrations make the extension. */
const NEEDS_VECTOR = "4.0.0";

/**
 * What is known of a release that runs.
 * @param hasVector whether the server could make pgvector's extension.
 */
export function releaseFindings(version: string, { hasVector }: { hasVector: boolean }): Finding[] {
  const findings = TROUBLES.filter(
    ({ from, until }) => compareVersions(version, from) >= 0 && compareVersions(version, until) < 0,
  ).map(({ says, hint }): Finding => ({
    kind: "chatwoot-upgrade-path",
    level: "note",
    message: `Chatwoot ${version} ${says}`,
    hint,
  }));
  // chatwoot/chatwoot #10933, #10854.
  if (!hasVector && compareVersions(version, NEEDS_VECTOR) < 0) {
    findings.push({
      kind: "chatwoot-upgrade-path",
      level: "note",
      message: `the database's server lacks pgvector, which Chatwoot ${NEEDS_VECTOR} and newer need`,
      hint: "Before you upgrade: install it for the server's own major version, or use an image that has it (pgvector/pgvector:pg16 for PostgreSQL 16).",
    });
  }
  return findings;
}

/** Whether the database is of the release that runs. */
export function schemaFindings(version: string, { lacking, ahead }: SchemaGap): Finding[] {
  const findings: Finding[] = [];
  if (lacking.length > 0) {
    findings.push({
      kind: "migrations-pending",
      level: "warning",
      subject: `${version}: ${lacking.join(", ")}`,
      message: `the database lacks ${plural(lacking.length, "migration")} that Chatwoot ${version} has: an upgrade did not end`,
      hint: "Make a backup, then let Chatwoot finish: bundle exec rails db:chatwoot_prepare, with POSTGRES_STATEMENT_TIMEOUT=600s (the usual 14 s are too short for large tables).",
    });
  }
  if (ahead.length > 0) {
    findings.push({
      kind: "database-newer",
      level: "warning",
      subject: `${version}: ${ahead.join(", ")}`,
      message: `the database has ${plural(ahead.length, "migration")} of a newer Chatwoot than the ${version} that runs`,
      hint: "Chatwoot cannot go back: run the newer version again, or restore a point from before the upgrade.",
    });
  }
  return findings;
}
