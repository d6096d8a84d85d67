/** Which Chatwoot made a database, and whether it is upstream's: told from the set of migrations that ran in it. */
import { Failure } from "../base/errors.ts";

/** A line of `assets/chatwoot/versions.tsv`. */
export interface Release {
  /** `v4.15.1` */
  tag: string;
  /** The latest migration that it has. */
  schemaVersion: string;
  tables: number;
}

/** A line of `assets/chatwoot/migrations.tsv`. */
export interface Migration {
  version: string;
  name: string;
  /** The first release that has the file, and the last: old ones were squashed. */
  first: string;
  last: string;
}

function rows(text: string): string[][] {
  return text
    .split(/\r?\n/)
    .slice(1)
    .filter((line) => line !== "")
    .map((line) => line.split("\t"));
}

function cell(row: readonly string[], at: number): string {
  const value = row[at];
  if (value === undefined) throw new Failure("internal/bug", "a list of Chatwoot's releases is cut short");
  return value;
}

export function parseReleases(tsv: string): Release[] {
  return rows(tsv).map((row) => ({ tag: cell(row, 0), schemaVersion: cell(row, 2), tables: Number(cell(row, 3)) }));
}

export function parseMigrations(tsv: string): Migration[] {
  return rows(tsv).map((row) => ({
    version: cell(row, 0),
    name: cell(row, 1),
    first: cell(row, 2),
    last: cell(row, 3),
  }));
}

function numbers(text: string): number[] {
  return (/(\d+)\.(\d+)(?:\.(\d+))?/.exec(text) ?? []).slice(1).map((part) => Number(part ?? 0));
}

/** `v4.9.0` < `4.10.0`. Anything after the three numbers is not compared. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [numbers(a), numbers(b)];
  for (const at of [0, 1, 2]) {
    const difference = (left[at] ?? 0) - (right[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

export interface SchemaIdentity {
  /** The greatest version in `schema_migrations`; undefined where it is empty. */
  schemaVersion: string | undefined;
  /** Upstream's releases with that schema, oldest first; empty where no known release fits. */
  releases: string[];
  /** Versions that upstream never had, up to the newest it is known to have: a fork's. */
  foreign: string[];
  /** Versions later than every known one: a newer release, or a fork's. */
  newer: string[];
  /** Versions that the release has and the database lacks: an upgrade that did not end. */
  pending: string[];
  isFork: boolean;
}

/** Tells release and fork from `schema_migrations`. The set counts, not its maximum: forks keep upstream's numbers. */
export function identifySchema(
  applied: readonly string[],
  known: { releases: readonly Release[]; migrations: readonly Migration[] },
): SchemaIdentity {
  const upstream = new Set(known.migrations.map((migration) => migration.version));
  // Three old releases' schemas name a version that has no file.
  for (const release of known.releases) upstream.add(release.schemaVersion);
  const newest = [...upstream].toSorted().at(-1) ?? "";
  const unknown = applied.filter((version) => !upstream.has(version));
  const own = applied.filter((version) => upstream.has(version)).toSorted();
  const latest = own.at(-1);
  const releases = known.releases.filter((release) => release.schemaVersion === latest);
  const has = new Set(applied);
  const release = releases.at(-1);
  const pending =
    release === undefined
      ? []
      : known.migrations
          .filter((migration) => compareVersions(migration.first, release.tag) <= 0)
          .filter((migration) => compareVersions(migration.last, release.tag) >= 0)
          .filter((migration) => !has.has(migration.version))
          .map((migration) => migration.version);
  const foreign = unknown.filter((version) => version <= newest);
  return {
    schemaVersion: applied.toSorted().at(-1),
    releases: releases.map((candidate) => candidate.tag),
    foreign,
    newer: unknown.filter((version) => version > newest),
    pending,
    isFork: foreign.length > 0,
  };
}

/** How the migrations that ran fit the release whose code runs. */
export interface SchemaGap {
  /** Versions that the release has and the database lacks. */
  lacking: string[];
  /** Upstream's versions that came after the release. */
  ahead: string[];
}

/** Undefined where nothing can be said: a release that is not known, or a fork's database. */
export function compareSchema(
  applied: readonly string[],
  version: string,
  known: { releases: readonly Release[]; migrations: readonly Migration[] },
): SchemaGap | undefined {
  const release = known.releases.find(({ tag }) => tag === `v${version}`);
  if (release === undefined || identifySchema(applied, known).isFork) return undefined;
  const has = new Set(applied);
  const own = known.migrations.filter(
    ({ first, last }) => compareVersions(first, release.tag) <= 0 && compareVersions(last, release.tag) >= 0,
  );
  const later = known.migrations.filter(({ first }) => compareVersions(first, release.tag) > 0);
  return {
    lacking: own.filter((migration) => !has.has(migration.version)).map((migration) => migration.version),
    ahead: later.filter((migration) => has.has(migration.version)).map((migration) => migration.version),
  };
}

/** `shared.version` of Chatwoot's `config/app.yml`, or undefined. */
export function parseAppVersion(yaml: string): string | undefined {
  const shared = /^shared:[^\n]*\n((?:[ \t]+[^\n]*(?:\n|$)|[ \t]*(?:#[^\n]*)?\n)*)/m.exec(yaml)?.[1] ?? "";
  return /^[ \t]+version:[ \t]*['"]?([0-9A-Za-z.+_-]+)/m.exec(shared)?.[1];
}

/** The version that Rails' `db/schema.rb` says it has: `define(version: 2025_05_14_045638)`; undefined for any other text. */
export function parseSchemaVersion(ruby: string): string | undefined {
  return /^ActiveRecord::Schema(?:\[[\d.]+\])?\.define\(version: ([\d_]{8,20})\)/m.exec(ruby)?.[1]?.replaceAll("_", "");
}
