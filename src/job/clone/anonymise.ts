/**
 * Makes a database one in which nobody can be recognised, and that reaches nobody: in one transaction, with a key that is made for
 * it and thrown away. What people are called, wrote and sent is replaced; a scan afterwards looks for what was there before.
 */
import { randomBytes } from "node:crypto";
import { formatCount, listSome, plural } from "../../base/bytes.ts";
import { Failure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Progress } from "../../base/progress.ts";
import { gatherOriginals, type Originals, type Scanner } from "../../chatwoot/originals.ts";
import { NAMES_OF_INSTALLATION, PLAIN_SETTINGS, treatmentOf } from "../../chatwoot/personal.ts";
import { makeStandIns, type StandIns } from "../../chatwoot/stand-in.ts";
import { replaceJson, replaceLeaf, replaceText } from "../../chatwoot/stand-in-text.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { readTables, type TableFacts } from "../../postgres/catalogue.ts";
import { connect, type Connection } from "../../postgres/connect.ts";
import { qualifiedName, quoteIdentifier, quoteLiteral } from "../../postgres/names.ts";
import { readFilledViews, refreshViews } from "../../postgres/views.ts";
import { forgetOldVersions, neutraliseIn } from "./neutralise.ts";
import { replaceFiles, type WriteFile } from "./replace-files.ts";
import { type Replace, type RewrittenColumn, rewriteTable } from "./rewrite.ts";
import { type FoundOriginals, originalsInRows, originalsInStatistics } from "./scan.ts";
import { withoutTriggers } from "./triggers.ts";

export interface AnonymiseOptions {
  /** Takes the file that stands for an uploaded one, under its new key; every file is of this service afterwards. */
  readonly files: { readonly service: string; readonly write: WriteFile };
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface Anonymised {
  readonly rows: number;
  readonly files: number;
  /** What was looked for afterwards, and found nowhere. */
  readonly lookedFor: number;
  /** The stand-in of somebody who may do everything, to sign in with their own password. */
  readonly administrator: string | undefined;
  readonly scanner: Scanner;
  readonly findings: Finding[];
}

/**
 * Neutralises and anonymises a database that no application is connected to, whole or not at all.
 * @throws Failure of the `database/` codes: nothing is changed then. `database/failed` also where the scan finds somebody: then
 * all is changed, and must not be used.
 */
export async function anonymise(address: ServerAddress, options: AnonymiseOptions): Promise<Anonymised> {
  const { signal, progress } = options;
  await using connection = await connect(address, { signal });
  const { tables } = await readTables(connection);
  const originals = gatherOriginals(ownWords(tables));
  const standIns = makeStandIns(randomBytes(32));
  await connection.query("begin");
  const findings = await neutraliseIn(connection, tables);
  const plan = await planColumns(connection, tables);
  findings.push(...unknownFindings(plan.unknown));
  progress.stage("replacing names and texts");
  const replace = replaceWith(standIns, originals);
  const rewritten = tables.filter((table) => plan.columns.has(table));
  const rows = await withoutTriggers(connection, tables, async () => {
    await replaceSettings(connection, tables);
    await dropLargeObjects(connection);
    let count = 0;
    for (const table of rewritten) {
      progress.say(`replacing what is in ${table.name}`);
      count += await rewriteTable(connection, table, plan.columns.get(table) ?? [], { replace, signal });
    }
    return count;
  });
  progress.stage("replacing uploaded files");
  const files = tables.some(({ name }) => name === "active_storage_blobs")
    ? await replaceFiles(connection, options.files, { signal })
    : 0;
  await refreshViews(connection, await readFilledViews(connection));
  progress.stage("looking for what was there before");
  const scanner = originals.seal(tables.reduce((sum, { bytes }) => sum + bytes, 0));
  // Before the commit: whoever comes after a kill knows nothing any more of what was there.
  assertNobody(await originalsInRows(connection, scanner, { signal }));
  await connection.query("commit");
  progress.stage("writing the tables anew");
  await forgetOldVersions(connection, tables);
  assertNobody(await originalsInStatistics(connection, scanner, { signal }));
  return {
    rows,
    files,
    lookedFor: scanner.lookedFor,
    administrator: await findAdministrator(connection, tables),
    scanner,
    findings,
  };
}

/** Of tables' and columns' names, which also stand in values that name a kind. */
function ownWords(tables: readonly TableFacts[]): Set<string> {
  const names = tables.flatMap(({ name, columns }) => [name, ...columns.map((column) => column.name)]);
  return new Set(names.flatMap((name) => [...name.toLowerCase().split("_"), name.toLowerCase().replace(/s$/, "")]));
}

interface ColumnPlan {
  columns: Map<TableFacts, RewrittenColumn[]>;
  /** `table.column`, of a type of which it is not known what it holds. */
  unknown: string[];
}

async function planColumns(connection: Connection, tables: readonly TableFacts[]): Promise<ColumnPlan> {
  const unique = await connection.query<{ oid: string; attnum: number }>(
    `select i.indrelid::text as oid, k::int as attnum from pg_catalog.pg_index i, unnest(i.indkey::int2[]) k where i.indisunique`,
  );
  const isUnique = new Set(unique.map(({ oid, attnum }) => `${oid} ${attnum}`));
  const plan: ColumnPlan = { columns: new Map(), unknown: [] };
  const enums = await connection.query<{ name: string }>(
    "select pg_catalog.format_type(oid, null) as name from pg_catalog.pg_type where typtype = 'e'",
  );
  const isEnum = new Set(enums.map(({ name }) => name));
  for (const table of tables) {
    const columns: RewrittenColumn[] = [];
    for (const { name, type, attnum, isGenerated, isNullable } of table.columns) {
      if (isGenerated || isEnum.has(type)) continue;
      const column = { table: table.name, name, type, isUnique: isUnique.has(`${table.oid} ${attnum}`) };
      const treatment = treatmentOf(column);
      if (treatment === undefined) plan.unknown.push(`${table.name}.${name} (${type})`);
      else if (treatment === "empty" && !isNullable && !/^(?:text|character|json|bytea)/.test(type)) {
        plan.unknown.push(`${table.name}.${name} (${type})`);
      } else if (treatment !== "keep") columns.push({ name, type, treatment });
    }
    if (columns.length > 0) plan.columns.set(table, columns);
  }
  return plan;
}

function unknownFindings(unknown: readonly string[]): Finding[] {
  if (unknown.length === 0) return [];
  const message = `${plural(unknown.length, "column")} of types that could hold anything ${unknown.length === 1 ? "was" : "were"} not replaced: ${listSome(unknown)}`;
  const hint = "Look whether they tell of anybody, and empty them by hand before anybody gets this copy.";
  return [{ kind: "anonymise-kept", level: "alarm", message, hint }];
}

/** Fewer words are said by many. */
const SAMPLE_MIN_WORDS = 5;

/** The first of each table that are long enough are looked for afterwards. */
function isSampled(texts: Map<string, number>, place: string, value: string): boolean {
  const table = place.slice(0, place.indexOf(" "));
  const count = texts.get(table) ?? 0;
  if (count >= LIMITS.originalTexts || value.split(/\s+/, SAMPLE_MIN_WORDS).length < SAMPLE_MIN_WORDS) return false;
  texts.set(table, count + 1);
  return true;
}

function replaceWith(standIns: StandIns, originals: Originals): Replace {
  const met = (value: string) => originals.add(value);
  const texts = new Map<string, number>();
  const whole = (value: string) => {
    met(value);
    return replaceName(value, standIns);
  };
  return (value, { name, type, treatment }, place) => {
    const at = `${place} ${name}`;
    switch (treatment) {
      case "name":
      case "identifier":
        return whole(value);
      case "titles":
        return value
          .split(/(,\s*)/)
          .map((part, index) => (index % 2 === 0 ? replaceName(part, standIns) : part))
          .join("");
      case "email":
        met(value);
        return standIns.email(value);
      case "domain":
        return value === "" ? value : standIns.domain(value);
      case "phone":
        met(value);
        return /\d/.test(value) ? `+${standIns.phoneDigits(value.replaceAll(/\D/g, ""))}` : standIns.name(value);
      case "filename":
        return replaceFilename(value, standIns);
      case "json":
      case "person":
        return replaceJson(value, at, standIns, { hasNumbers: treatment === "person", meet: met });
      case "list":
        return replaceJson(value, at, standIns, { hasNumbers: false, meet: met });
      case "text":
        if (isSampled(texts, place, value)) met(value);
        return replaceText(value, place, standIns);
      case "leaf":
        if (isSampled(texts, place, value)) met(value);
        return replaceLeaf("", value, place, standIns, met);
      case "empty":
        return emptyOf(type);
      case "keep":
        return value;
    }
    return null;
  };
}

/** A name may be an address or a number: then it is the stand-in that this is elsewhere. */
function replaceName(value: string, standIns: StandIns): string {
  return value.includes("://") ? replaceText(value, "link", standIns) : standIns.identifier(value);
}

/** Its ending says of what kind it is. */
function replaceFilename(value: string, standIns: StandIns): string {
  const [, base = value, ending = ""] = /^(.*?)(\.[a-z0-9]{1,5})?$/is.exec(value) ?? [];
  return `${standIns.name(base)}${ending}`;
}

/** Null where the column takes it; a column that must hold something never gets here with another type. */
function emptyOf(type: string): string | null {
  if (type.startsWith("json")) return "{}";
  return /^(?:text|character|bytea)/.test(type) ? "" : null;
}

async function replaceSettings(connection: Connection, tables: readonly TableFacts[]): Promise<void> {
  const table = tables.find(({ name }) => name === "installation_configs");
  if (table === undefined) return;
  const relation = qualifiedName(table);
  const named = Object.keys(NAMES_OF_INSTALLATION).map(quoteLiteral).join(", ");
  await connection.query(
    `delete from ${relation} where name !~ ${quoteLiteral(PLAIN_SETTINGS)} and name not in (${named})`,
  );
  for (const [name, value] of Object.entries(NAMES_OF_INSTALLATION)) {
    const yaml = `--- !ruby/hash:ActiveSupport::HashWithIndifferentAccess\nvalue: ${value}\n`;
    await connection.query(`update ${relation} set serialized_value = to_jsonb($1::text) where name = $2`, [
      yaml,
      name,
    ]);
  }
}

/** Chatwoot has none; what somebody put there is not looked into. */
async function dropLargeObjects(connection: Connection): Promise<void> {
  await connection.query("select pg_catalog.lo_unlink(oid) from pg_catalog.pg_largeobject_metadata");
}

function assertNobody(found: readonly FoundOriginals[]): void {
  if (found.length === 0) return;
  const places = found.map(({ where, count }) => `${where} (${formatCount(count)})`);
  throw new Failure(
    "database/failed",
    `names, addresses or texts of real people are still in the copy: ${listSome(places)}`,
    {
      hint: "Nobody may get this copy: drop its database. Whatever wrote there is not known to Chatkeep; please report which tables were named.",
    },
  );
}

/** A super admin, or an administrator of the first account. */
async function findAdministrator(connection: Connection, tables: readonly TableFacts[]): Promise<string | undefined> {
  const users = tables.find(({ name }) => name === "users");
  const members = tables.find(({ name }) => name === "account_users");
  if (users === undefined || members === undefined) return undefined;
  const type = quoteIdentifier("type");
  const [row] = await connection.query<{ email: string | null }>(
    `select u.email from ${qualifiedName(users)} u left join ${qualifiedName(members)} m on m.user_id = u.id and m.role = 1
     order by (m.role is null), (u.${type} is distinct from 'SuperAdmin'), u.id limit 1`,
  );
  return row?.email ?? undefined;
}
