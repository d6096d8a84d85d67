/**
 * Runs Chatwoot's own migrations on the restored database, when they are asked for. Its task makes every table anew, empty, where
 * `ar_internal_metadata` is not there (F6): so that is looked at before, and what is there is counted before and after.
 */
import { basename } from "node:path";
import { formatCount, listSome, plural } from "../../base/bytes.ts";
import { Failure } from "../../base/errors.ts";
import { createRedactor } from "../../base/redact.ts";
import { secretValuesOf } from "../../chatwoot/secrets.ts";
import { describeMigration, type MigrationRun, runMigration, settleMigration } from "../../installation/migration.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { connect } from "../../postgres/connect.ts";
import {
  NOTHING_DONE,
  type Stage,
  type StageContext,
  type StagePlan,
  type StageResult,
  type UndoContext,
} from "./stage.ts";

/** What is looked at before and after. Plain JSON. */
export interface MigrationLook {
  /** Of `schema_migrations`; undefined where there is no such table. */
  readonly versions: readonly string[] | undefined;
  /** `ar_internal_metadata` is there and names an environment. */
  readonly hasMetadata: boolean;
  readonly accounts: number;
}

const HAS = (table: string) => `to_regclass('public.${table}') is not null`;

/** Changes nothing. @throws Failure of the `database/` codes. */
export async function lookAtMigrations(
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<MigrationLook> {
  await using connection = await connect(address, { signal });
  const [there] = await connection.query<{ versions: boolean; metadata: boolean; accounts: boolean }>(
    `select ${HAS("schema_migrations")} as versions, ${HAS("ar_internal_metadata")} as metadata, ${HAS("accounts")} as accounts`,
  );
  const count = async (sql: string) => Number((await connection.query<{ n: string }>(sql))[0]?.n ?? 0);
  const versions = there?.versions
    ? await connection.query<{ version: string }>("select version from public.schema_migrations order by 1")
    : undefined;
  const named = "select count(*) as n from public.ar_internal_metadata where key = 'environment'";
  return {
    versions: versions?.map(({ version }) => version),
    hasMetadata: there?.metadata === true && (await count(named)) > 0,
    accounts: there?.accounts ? await count("select count(*) as n from public.accounts") : 0,
  };
}

/** Why the migrations must not be begun; undefined where they may. Pure. */
export function unfitToMigrate({ versions = [], hasMetadata }: MigrationLook): string | undefined {
  const lacking = [
    ...(versions.length === 0 ? ["schema_migrations"] : []),
    ...(hasMetadata ? [] : ["ar_internal_metadata"]),
  ];
  if (lacking.length === 0) return undefined;
  return `${lacking.join(" and ")} of the restored database ${lacking.length === 1 ? "is" : "are"} not there or empty: Chatwoot's migrations would make all its tables anew`;
}

/** Printed by a start on a database without tables, by an initializer that asks too early (F30): it says nothing by itself. */
const NOISE = /relation "installation_configs" does not exist/;

/**
 * What went wrong; undefined where all is well. A line that looks like an error is none as long as the task ended well and
 * the tables are there. Pure.
 */
export function judgeMigration(run: MigrationRun, before: MigrationLook, after: MigrationLook): string | undefined {
  if (run.status !== 0) {
    const isNoise = run.lines.some((line) => NOISE.test(line));
    const early = isNoise ? ", after asking for tables that were not there yet" : "";
    return `Chatwoot's migrations ended with status ${run.status}${early}`;
  }
  const now = new Set(after.versions ?? []);
  const gone = (before.versions ?? []).filter((version) => !now.has(version));
  if (gone.length > 0) return `migrations that the database had are gone from it: ${listSome(gone)}`;
  if (after.accounts < before.accounts) {
    return `${plural(before.accounts, "account")} before the migrations, and ${formatCount(after.accounts)} afterwards`;
  }
  return after.hasMetadata ? undefined : "ar_internal_metadata is empty after the migrations";
}

function refused(message: string, hint: string): Failure {
  return new Failure("restore/not-migrated", message, { hint });
}

const WAY_BACK = "The database of before is kept: chatkeep rollback puts it back.";

function failed(message: string, { lines }: MigrationRun, { place }: StageContext): Failure {
  const redact = createRedactor(secretValuesOf(place.installation.environment));
  const said =
    lines.length === 0 ? [] : ["The last lines that they printed:", ...lines.map((line) => `  ${redact(line)}`)];
  const next = `Correct it and run chatkeep restore --resume. ${WAY_BACK}`;
  return refused(message, [...said, next].join("\n"));
}

async function plan({ place, options }: StageContext): Promise<StagePlan> {
  if (!options.migrate) return await Promise.resolve({ lines: [], blockers: [], findings: [] });
  const { migrate } = place.installation.processes;
  if (migrate !== undefined) {
    return { lines: [`run Chatwoot's migrations ${describeMigration(migrate)}`], blockers: [], findings: [] };
  }
  return {
    lines: [],
    blockers: [
      {
        kind: "migrate-unknown",
        level: "alarm",
        message: "Chatkeep does not know how Chatwoot's migrations are run here",
        hint: "Say in the configuration under 'installation' how: migrate: \"…\" (bundle exec rails db:chatwoot_prepare, where Chatwoot runs, with POSTGRES_STATEMENT_TIMEOUT=600s). Or restore without --migrate, and run them yourself.",
      },
    ],
    findings: [],
  };
}

/** Those that a run began which was killed go on by themselves, and would be taken for somebody who is connected. */
async function settle(
  { place, folder, progress, signal }: UndoContext,
  { how, saying, told }: { how: "wait" | "stop"; saying: string; told: string },
): Promise<StageResult> {
  const { migrate } = place.installation.processes;
  if (migrate === undefined) return NOTHING_DONE;
  let isFound = false;
  const onFound = () => {
    isFound = true;
    progress.say(saying);
  };
  await settleMigration(migrate, { mark: basename(folder), how, signal, onFound });
  return isFound ? { lines: [told], findings: [] } : NOTHING_DONE;
}

export const migrateStage: Stage<MigrationLook> = {
  name: "migrate",
  plan,
  /** Some make an index outside of a transaction, which is left invalid when they are stopped: they are waited for. */
  async before(context) {
    if (!context.options.migrate) return NOTHING_DONE;
    return await settle(context, {
      how: "wait",
      saying: "waiting for the migrations that an earlier run began",
      told: "the migrations that an earlier run began were waited for",
    });
  },
  /** The database that they change is put aside. */
  async beforeUndo(context) {
    return await settle(context, {
      how: "stop",
      saying: "stopping the migrations that an earlier run began",
      told: "the migrations that an earlier run began were stopped",
    });
  },
  async apply(context, record) {
    const { place, folder, progress, signal, options } = context;
    const { migrate } = place.installation.processes;
    if (!options.migrate || migrate === undefined) return { lines: [], findings: [] };
    const now = await lookAtMigrations(place.address, { signal });
    const unfit = unfitToMigrate(now);
    if (unfit !== undefined) {
      throw refused(unfit, `Run no migration on it. Restore a point that has both tables whole. ${WAY_BACK}`);
    }
    // What was there before the first try counts, also after one that was killed half-way.
    const before = record.kept ?? now;
    if (record.kept === undefined) await record.keep(now);
    progress.say(`running Chatwoot's migrations ${describeMigration(migrate)}`);
    const run = await runMigration(migrate, { mark: basename(folder), signal });
    const after = await lookAtMigrations(place.address, { signal });
    const wrong = judgeMigration(run, before, after);
    if (wrong !== undefined) throw failed(wrong, run, context);
    const added = (after.versions?.length ?? 0) - (before.versions?.length ?? 0);
    const what = added === 0 ? "nothing was to be migrated" : `${plural(added, "migration")} more than before`;
    return { lines: [`Chatwoot's migrations ended well: ${what}`], findings: [] };
  },
  undoIs: "needed",
  // Nothing of its own: they changed the restored database alone, and the swap's undo puts the one of before in its place.
  undo: async () => await Promise.resolve({ lines: [], findings: [] }),
};
