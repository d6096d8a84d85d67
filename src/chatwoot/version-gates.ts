/**
 * Whether a saved database may be run by the code of a place. Chatwoot migrates a database forward only, and not from
 * everywhere; which migrations ran in it, and which the code has, decide, not the numbers that both call themselves by.
 */
import { listSome, plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { compareVersions, identifySchema, type Migration, type Release } from "./versions.ts";

export interface KnownReleases {
  readonly releases: readonly Release[];
  readonly migrations: readonly Migration[];
}

/** The code that will run the database. */
export interface CodeFacts {
  /** `4.15.1` */
  readonly version: string | undefined;
  /** The versions of the files in its `db/migrate`, where they can be seen. */
  readonly migrations: readonly string[] | undefined;
  /** It is of the same make as the code that the point was taken of: the same image, or another version of it. */
  readonly isSameMake: boolean;
  /** It is known to be upstream's own: it has no fork's migrations. */
  readonly isUpstreams: boolean;
  /** For people: `the image chatwoot/chatwoot:v4.15.1`. */
  readonly what: string;
}

export interface SavedDatabase {
  /** Of `schema_migrations`. */
  readonly applied: readonly string[];
  /** What ran on it; null where nobody knows. */
  readonly version: string | null;
  readonly hasUsers: boolean;
  /** It has pgvector's extension. */
  readonly hasVector: boolean;
  /** For people, how that code is had again: `the image …`, `commit …`. */
  readonly code: string | undefined;
  /** For people, what it is: of a restore, the point's database. */
  readonly what?: string;
}

export interface GateOptions {
  /** Chatwoot's own migrations run after the restore. */
  readonly migrate: boolean;
  /** The server where the database goes could make pgvector's extension. */
  readonly canHaveVector: boolean;
}

/** `same`: the code runs it as it is. `unknown`: nothing can be said. */
export type CodeRelation = "same" | "code-newer" | "code-older" | "other-fork" | "unknown";

export interface GateVerdict {
  readonly relation: CodeRelation;
  /** Migrations that the code has and the database lacks. */
  readonly lacking: readonly string[];
  readonly blockers: readonly Finding[];
  readonly findings: readonly Finding[];
}

/** In 3.6.0 all migrations until then were put into this one (chatwoot/chatwoot #8862): a database without it is of 2.16 or older. */
const SQUASHED_INTO = "20230426130150";
/** The last of those from which 4.2.0 and newer can migrate a database that has users (chatwoot/chatwoot #12088). */
const BEFORE_4_2 = "20250416182131";
/** The first of 4.2.0. */
const SINCE_4_2 = "20250421082927";
/** The first of 4.0.0: it makes pgvector's extension (chatwoot/chatwoot #10933). */
const SINCE_4_0 = "20250104200055";

function releaseOf(version: string | null | undefined, { releases }: KnownReleases): Release | undefined {
  return version === null || version === undefined
    ? undefined
    : releases.find(({ tag }) => tag === `v${version.replace(/-[a-z]+$/, "")}`);
}

/** What its folder shows, or else what the release of its number has. */
function migrationsOf({ migrations, version }: CodeFacts, known: KnownReleases): Set<string> | undefined {
  if (migrations !== undefined && migrations.length > 0) return new Set(migrations);
  const release = releaseOf(version, known);
  if (release === undefined) return undefined;
  const own = known.migrations.filter(
    ({ first, last }) => compareVersions(first, release.tag) <= 0 && compareVersions(last, release.tag) >= 0,
  );
  return new Set([...own.map((migration) => migration.version), release.schemaVersion]);
}

interface Gap {
  lacking: string[];
  /** Upstream's, or too new to be known. */
  newer: string[];
  /** Those that upstream never had. */
  foreign: string[];
}

function gapOf(applied: readonly string[], code: ReadonlySet<string>, known: KnownReleases): Gap {
  const has = new Set(applied);
  const oldest = [...code].toSorted()[0] ?? "";
  // What was squashed has no file any more.
  const others = applied.filter((version) => !code.has(version) && version >= oldest);
  const ahead = others.filter((version) => !isSquashed(version, code, known));
  const { foreign } = identifySchema(applied, known);
  return {
    lacking: [...code].filter((version) => !has.has(version)).toSorted(),
    newer: ahead.filter((version) => !foreign.includes(version)),
    foreign: ahead.filter((version) => foreign.includes(version)),
  };
}

/** Upstream's, in a release before the code's own: the code has what it did in one file with others. */
function isSquashed(version: string, code: ReadonlySet<string>, { migrations }: KnownReleases): boolean {
  const own = migrations.find((migration) => migration.version === version);
  return (
    own !== undefined && migrations.some((one) => code.has(one.version) && compareVersions(one.first, own.last) > 0)
  );
}

function alarm(kind: string, message: string, hint: string): Finding {
  return { kind, level: "alarm", message, hint };
}

function sameVersion({ code, version }: SavedDatabase): string {
  return code ?? (version === null ? "the code that the point was taken of" : `Chatwoot ${version}`);
}

function named({ version, what = "the point's database" }: SavedDatabase): string {
  return version === null ? what : `${what}, of Chatwoot ${version},`;
}

function olderCode(saved: SavedDatabase, { what }: CodeFacts, { newer }: Gap): Finding {
  return alarm(
    "code-too-old",
    `${named(saved)} has ${plural(newer.length, "migration")} that ${what} does not have (${listSome(newer)}): Chatwoot cannot go back`,
    `Install ${sameVersion(saved)} here, and restore again.`,
  );
}

function otherFork(saved: SavedDatabase, { what }: CodeFacts, { foreign }: Gap): Finding {
  return alarm(
    "code-of-another-fork",
    `${named(saved)} is a fork's: ${plural(foreign.length, "migration")} of it (${listSome(foreign)}) ${foreign.length === 1 ? "is" : "are"} not in ${what}`,
    `Install ${sameVersion(saved)} here, and restore again.`,
  );
}

function newerCode(saved: SavedDatabase, { what }: CodeFacts, { lacking }: Gap): Finding {
  return alarm(
    "code-newer",
    `${what} has ${plural(lacking.length, "migration")} that ${named(saved)} lacks: it would not work as it is`,
    `Restore with --migrate, which lets Chatwoot run them; or install ${sameVersion(saved)} here first.`,
  );
}

/** The steps that an upgrade must not jump over. */
function jumpBlockers(saved: SavedDatabase, { what }: CodeFacts, code: ReadonlySet<string>): Finding[] {
  const has = new Set(saved.applied);
  const isSquashed = code.has(SQUASHED_INTO) && [...code].every((version) => version >= SQUASHED_INTO);
  const says = (why: string) => `${what} cannot migrate ${named(saved)} ${why}`;
  if (isSquashed && !has.has(SQUASHED_INTO)) {
    return [
      alarm(
        "upgrade-in-steps",
        says("which is older than 2.17: it no longer has the migrations of then"),
        "Install Chatwoot 3.5.2, restore with --migrate, and make a restore point; then go on to 4.1.0, and from there to the newest.",
      ),
    ];
  }
  if (code.has(SINCE_4_2) && !has.has(BEFORE_4_2) && !has.has(SINCE_4_2) && saved.hasUsers) {
    return [
      alarm(
        "upgrade-in-steps",
        says("which is older than 4.1.0 and has users: a migration fails on them"),
        "Install Chatwoot 4.1.0, restore with --migrate, and make a restore point; then go on to the newest.",
      ),
    ];
  }
  return [];
}

function vectorBlockers(saved: SavedDatabase, { what }: CodeFacts, code: ReadonlySet<string>): Finding[] {
  // A database that has run that migration has what it needs, or its own extensions tell what is lacking.
  if (saved.hasVector || saved.applied.includes(SINCE_4_0) || !code.has(SINCE_4_0)) return [];
  return [
    alarm(
      "pgvector-needed",
      `${what} needs pgvector, and the database's server does not have it`,
      "Install it for the server's own major version (Debian: postgresql-16-pgvector for PostgreSQL 16), or use an image that has it (pgvector/pgvector:pg16).",
    ),
  ];
}

function unknownFinding({ what }: CodeFacts, saved: SavedDatabase): Finding {
  return {
    kind: "code-unknown",
    level: "warning",
    message: `it is not known which migrations ${what} has, so it cannot be told whether it fits ${named(saved).replace(/,$/, "")}`,
    hint: `It should be ${sameVersion(saved)}. 'version' under 'installation' in the configuration says which release it is.`,
  };
}

/** A number that is greater than every known one says at least which way it goes. */
function judgeByNumber(saved: SavedDatabase, code: CodeFacts, options: GateOptions): GateVerdict {
  const nothing = { lacking: [], blockers: [], findings: [] };
  const difference =
    saved.version === null || code.version === undefined ? undefined : compareVersions(code.version, saved.version);
  if (difference === 0 && code.isSameMake) return { ...nothing, relation: "same" };
  if (difference === undefined || difference === 0) {
    return { ...nothing, relation: "unknown", findings: [unknownFinding(code, saved)] };
  }
  if (difference < 0) {
    const message = `${code.what} is older than ${named(saved).replace(/,$/, "")}: Chatwoot cannot go back`;
    return {
      ...nothing,
      relation: "code-older",
      blockers: [alarm("code-too-old", message, `Install ${sameVersion(saved)} here, and restore again.`)],
    };
  }
  if (options.migrate) return { ...nothing, relation: "code-newer", findings: [unknownFinding(code, saved)] };
  const message = `${code.what} is newer than ${named(saved).replace(/,$/, "")}: it would not work as it is`;
  const hint = `Restore with --migrate, which lets Chatwoot bring it up; or install ${sameVersion(saved)} here first.`;
  return { ...nothing, relation: "code-newer", blockers: [alarm("code-newer", message, hint)] };
}

/** Pure: what stands in the way of running this database with this code, and what is worth knowing. */
export function judgeVersions(
  saved: SavedDatabase,
  code: CodeFacts,
  options: GateOptions & { known: KnownReleases },
): GateVerdict {
  const { known, migrate, canHaveVector } = options;
  const own = migrationsOf(code, known);
  if (own === undefined || saved.applied.length === 0) return judgeByNumber(saved, code, options);
  const gap = gapOf(saved.applied, own, known);
  // Another build of the same fork may have the number of an upstream release and more migrations than that.
  const isListed = code.migrations !== undefined && code.migrations.length > 0;
  const { lacking } = gap;
  if (gap.foreign.length > 0 && !isListed && !code.isSameMake && !code.isUpstreams) {
    return { relation: "unknown", lacking: [], blockers: [], findings: [unknownFinding(code, saved)] };
  }
  if (gap.foreign.length > 0 && (isListed || !code.isSameMake)) {
    return { relation: "other-fork", lacking, blockers: [otherFork(saved, code, gap)], findings: [] };
  }
  if (gap.newer.length > 0) {
    return { relation: "code-older", lacking, blockers: [olderCode(saved, code, gap)], findings: [] };
  }
  if (lacking.length === 0) return { relation: "same", lacking, blockers: [], findings: [] };
  if (saved.version !== null && code.version === saved.version && code.isSameMake) {
    return { relation: "same", lacking, blockers: [], findings: [pendingFinding(saved, gap)] };
  }
  const blockers = [...jumpBlockers(saved, code, own), ...(canHaveVector ? [] : vectorBlockers(saved, code, own))];
  if (blockers.length === 0 && !migrate) blockers.push(newerCode(saved, code, gap));
  return { relation: "code-newer", lacking, blockers, findings: [] };
}

function pendingFinding(saved: SavedDatabase, { lacking }: Gap): Finding {
  return {
    kind: "migrations-were-pending",
    level: "warning",
    message: `${named(saved)} lacked ${plural(lacking.length, "migration")} of its own release when the point was taken (${listSome(lacking)}): an upgrade had not ended`,
    hint: "It comes back as it was. --migrate lets Chatwoot run them; or choose a point from before the upgrade.",
  };
}
