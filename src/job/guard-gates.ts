/** Whether the code that an upgrade brought can run the database that is there. Pure. */
import type { Finding } from "../base/findings.ts";
import { type GateVerdict, judgeVersions, type KnownReleases } from "../chatwoot/version-gates.ts";
import type { Looked } from "./guard-look.ts";
import { isOfUpstream, isSameMake } from "./stages/code-versions.ts";

/** What helps after an upgrade: not what helps a restore. */
const HINTS: Readonly<Record<string, string>> = {
  "upgrade-in-steps":
    "Put everything back. Then go in steps, each under guard: from 2.16 and older to 3.5.2, from there to 4.1.0, and then to the newest.",
  "pgvector-needed":
    "Put everything back. Then give the server pgvector (Debian: postgresql-16-pgvector for PostgreSQL 16; an image: pgvector/pgvector:pg16), and upgrade again.",
  "code-too-old": "Chatwoot cannot go back: put everything back, or install the release of before again.",
  "code-of-another-fork": "Put everything back, or install the fork's own code again.",
};

/** What stands in the way of the code, as far as it did not before the command. */
export function gateReasons(before: Looked, after: Looked, known: KnownReleases): Finding[] {
  const had = new Set(verdictOf(before, before, known).blockers.map(({ kind }) => kind));
  return verdictOf(before, after, known)
    .blockers.filter(({ kind }) => !had.has(kind))
    .map((one) => ({ ...one, hint: HINTS[one.kind] ?? one.hint }));
}

function verdictOf(before: Looked, after: Looked, known: KnownReleases): GateVerdict {
  const { image, version } = after;
  const number = version === null ? "the code" : `Chatwoot ${version}`;
  return judgeVersions(
    {
      applied: after.migrations,
      version: before.version,
      hasUsers: (after.rows.users ?? 0) > 0,
      hasVector: false,
      code: undefined,
      what: "the database",
    },
    {
      version: version ?? undefined,
      migrations: undefined,
      isSameMake: isSameMake(before.image ?? undefined, image ?? undefined),
      isUpstreams: image !== null && isOfUpstream(image.name),
      what: image === null ? `${number} that is installed now` : `the image ${image.name}`,
    },
    // What lacks only migrations is told as that; a guard of an older release did not ask for pgvector.
    { migrate: true, canHaveVector: after.offersVector !== false, known },
  );
}
