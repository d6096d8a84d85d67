/**
 * Builds a throwaway installation of Chatwoot 4.15.1's shape: 90 tables with its triggers and per-account
 * sequences, conversations, uploads, encrypted credentials, an `.env` and a git checkout. `chatkeep demo` shows
 * what Chatkeep does with it, and the tests hold Chatkeep to it. The same seed makes the same installation.
 *
 * It is no Chatwoot: no program of Chatwoot is in it. The server that it is built on must be one to throw away, for
 * the application's role is a superuser, as Chatwoot's own set-up script makes it.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "pg";
import { mapConcurrent } from "../base/concurrent.ts";
import { type Progress, silent } from "../base/progress.ts";
import { type Catalogue, readCatalogue } from "./catalogue.ts";
import { buildCode, buildPlainCode, removeCode } from "./code.ts";
import { type DemoAddress, copyRows, onDatabase, quoteName, quoteText } from "./database.ts";
import { formatEnvironment, makeEnvironment, makeSecrets } from "./environment.ts";
import { type MadeFile, makeFiles, writeStorageFile } from "./files.ts";
import { seededRandom } from "./random.ts";
import { EXTENSIONS, type SchemaOptions, schemaAfterRows, schemaBeforeRows, schemaNotes } from "./schema.ts";
import { type DemoSize, seedRows } from "./seed/seed.ts";

export interface DemoOptions {
  /** A folder that is empty or does not exist; everything is made below it. */
  root: string;
  /** A superuser of the server, on any database. */
  address: DemoAddress;
  /** Default: 20,000 messages, 1,500 conversations, 300 files. */
  size?: Partial<DemoSize>;
  seed?: number;
  /** Other names than `chatwoot` and `chatwoot_production`, where a server gets several installations. */
  role?: string;
  database?: string;
  /** False: the code is a plain folder, which is quicker to make and to back up. Default: a git checkout. */
  isCheckout?: boolean;
  signal: AbortSignal;
  progress?: Progress;
}

export interface DemoInstallation {
  readonly root: string;
  /** The application's folder, a git checkout: what Chatwoot's documentation calls /home/chatwoot/chatwoot. */
  readonly codeRoot: string;
  readonly storageRoot: string;
  readonly envFile: string;
  readonly environment: ReadonlyMap<string, string>;
  /** The application's role on the application's database. */
  readonly database: DemoAddress;
  /** The superuser that it was built with. */
  readonly admin: DemoAddress;
  /** Texts that may stand nowhere in clear but in `.env`: its secrets, and what the database holds encrypted. */
  readonly secrets: readonly string[];
  /** What this server could not be given, as sentences. */
  readonly notes: readonly string[];
  readonly version: string;
  readonly seed: number;
}

const DEFAULT_SIZE: DemoSize = { messages: 20_000, conversations: 1_500, files: 300 };
const DEFAULT_SEED = 4151;
const FILES_AT_ONCE = 16;

async function createDatabase(options: DemoOptions, target: DemoAddress): Promise<void> {
  const role = quoteName(target.user);
  await onDatabase(options.address, async (client) => {
    await client.query(
      `DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ${quoteText(target.user)}) THEN
         CREATE ROLE ${role}; END IF; END $$`,
    );
    await client.query(`ALTER ROLE ${role} LOGIN CREATEDB SUPERUSER PASSWORD ${quoteText(target.password ?? "")}`);
    await client.query(
      `CREATE DATABASE ${quoteName(target.database)} OWNER ${role} TEMPLATE template0 ENCODING 'UTF8'`,
    );
  });
}

async function createExtensions(client: Client): Promise<SchemaOptions> {
  const { rows } = await client.query<{ name: string }>(
    "SELECT name FROM pg_available_extensions WHERE name = ANY($1)",
    [EXTENSIONS],
  );
  const extensions = new Set(rows.map(({ name }) => name));
  for (const name of extensions) await client.query(`CREATE EXTENSION ${quoteName(name)}`);
  return { extensions };
}

/** Sequences go on after the highest id; rows are updated and deleted, so that heap order is not id order. */
async function settle(client: Client, catalogue: Catalogue): Promise<void> {
  const setvals = catalogue.sequences.map(({ name, ownedBy }) => {
    const [table = "", column = ""] = ownedBy.split(".");
    return `(SELECT setval('${name}', coalesce(max(${column}), 1), max(${column}) IS NOT NULL) FROM ${table})`;
  });
  await client.query(`SELECT ${setvals.join(", ")}`);
  await client.query(
    "UPDATE conversations SET status = 1, updated_at = updated_at + interval '1 hour' WHERE id % 30 = 7",
  );
  await client.query("UPDATE messages SET status = 2 WHERE id % 50 = 11");
  await client.query("DELETE FROM messages WHERE id % 97 = 5 AND id NOT IN (SELECT message_id FROM attachments)");
}

async function buildDatabase(
  target: DemoAddress,
  catalogue: Catalogue,
  rows: ReturnType<typeof seedRows>["rows"],
  { signal, progress = silent }: DemoOptions,
): Promise<string[]> {
  return await onDatabase(target, async (client) => {
    const schema = await createExtensions(client);
    // A database that is made to be thrown away need not reach the disk before the next statement.
    await client.query("SET synchronous_commit = off; BEGIN");
    await client.query(schemaBeforeRows(catalogue, schema).join(";\n"));
    for (const [table, columns] of catalogue.tables) {
      signal.throwIfAborted();
      const tableRows = rows.tables.get(table) ?? [];
      await copyRows(client, table, tableRows, { columns, hasVector: schema.extensions.has("vector"), signal });
      progress.advance(tableRows.length);
    }
    await client.query(schemaAfterRows(catalogue, schema).join(";\n"));
    await client.query("COMMIT");
    await settle(client, catalogue);
    await client.query("ANALYZE");
    return schemaNotes(schema);
  });
}

async function writeFiles(storageRoot: string, files: readonly MadeFile[], signal: AbortSignal): Promise<void> {
  await mkdir(storageRoot, { recursive: true });
  await mapConcurrent(files, FILES_AT_ONCE, async (file) => await writeStorageFile(storageRoot, file), { signal });
}

/**
 * Builds an installation; takes a few seconds.
 * @throws whatever PostgreSQL, git or the disk has to say; what was made until then is left for a look.
 */
export async function buildInstallation(options: DemoOptions): Promise<DemoInstallation> {
  const { root, address, seed = DEFAULT_SEED, signal, progress = silent } = options;
  const size = { ...DEFAULT_SIZE, ...options.size };
  const catalogue = readCatalogue();
  const random = seededRandom(seed);
  const secrets = makeSecrets(random.fork("secrets"));
  const database: DemoAddress = {
    host: address.host,
    port: address.port,
    user: options.role ?? "chatwoot",
    password: secrets.databasePassword,
    database: options.database ?? "chatwoot_production",
  };
  const codeRoot = join(root, "chatwoot");
  const storageRoot = join(codeRoot, "storage");
  const envFile = join(codeRoot, ".env");
  const environment = makeEnvironment(database, secrets);
  const files = [...makeFiles(random.fork("files"), size.files, size.fileBytes)];
  const { rows, total } = seedRows({ catalogue, random: random.fork("rows"), secrets, size, files });
  progress.stage(`building an installation of Chatwoot ${catalogue.version}'s shape`, { total, unit: "rows" });
  await mkdir(root, { recursive: true });
  await createDatabase(options, database);
  const [notes] = await Promise.all([
    buildDatabase(database, catalogue, rows, options),
    options.isCheckout === false
      ? buildPlainCode(codeRoot, catalogue.version)
      : buildCode({ codeRoot, origin: join(root, "chatwoot.git") }, catalogue.version, signal),
  ]);
  await writeFiles(storageRoot, files, signal);
  await writeFile(envFile, formatEnvironment(environment), { mode: 0o600 });
  return {
    root,
    codeRoot,
    storageRoot,
    envFile,
    environment,
    database,
    admin: address,
    secrets: [...Object.values(secrets), ...rows.hidden],
    notes,
    version: catalogue.version,
    seed,
  };
}

/** The disaster: the database, the uploads, the configuration and the code are gone. The server and `origin` stay. */
export async function destroyInstallation({ admin, database, codeRoot }: DemoInstallation): Promise<void> {
  await dropDatabase(admin, database.database);
  await removeCode(codeRoot);
}

async function dropDatabase(admin: DemoAddress, name: string): Promise<void> {
  await onDatabase(
    admin,
    async (client) => await client.query(`DROP DATABASE IF EXISTS ${quoteName(name)} WITH (FORCE)`),
  );
}
