/**
 * The key proof: the saved keys open the saved secrets. The database tells which keys its ciphertexts name and gives
 * one of each; the environment's keys are tried on them. The same for `SECRET_KEY_BASE` and signed file ids.
 */
import type { Finding } from "../base/findings.ts";
import {
  type CiphertextSample,
  ciphertextColumns,
  ciphertextQuery,
  keyProofFindings,
  proveKeys,
  readCiphertextRows,
} from "../chatwoot/encryption.ts";
import type { Environment } from "../chatwoot/environment.ts";
import { proveSecretKeyBase, signedIdQueries } from "../chatwoot/signed-id.ts";
import type { KeyProofEntry } from "../point/manifest.ts";
import type { Queries } from "./list-storage.ts";

/** What the database has that only the right keys open. */
export interface KeySamples {
  ciphertexts: CiphertextSample[];
  /** Texts in which signed file ids were found. */
  texts: string[];
}

const COLUMNS_QUERY = `
select c.relname as "table", a.attname as name, format_type(a.atttypid, a.atttypmod) as type
from pg_class c join pg_attribute a on a.attrelid = c.oid
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
order by 1, a.attnum`;

/** Where such things may be in this database. */
export interface KeySources {
  ciphertexts: { table: string; columns: string[] }[];
  signedIds: { table: string; query: string }[];
}

/** Reads one table. */
export type AskTable = (table: string, query: string) => Promise<Record<string, unknown>[]>;

export async function findKeySources(database: Queries): Promise<KeySources> {
  const columns = await database.query<{ table: string; name: string; type: string }>(COLUMNS_QUERY);
  const tables = [...Map.groupBy(columns, (column) => column.table)].map(([name, own]) => ({ name, columns: own }));
  const ciphertexts = ciphertextColumns(tables);
  const signedIds = tables.flatMap(({ name, columns: own }) =>
    signedIdQueries((table, column) => table === name && own.some((known) => known.name === column)).map((query) => ({
      table: name,
      query,
    })),
  );
  return { ciphertexts, signedIds };
}

export async function readKeySamples(database: Queries, sources: KeySources): Promise<KeySamples> {
  return await collectKeySamples(sources, (_table, query) => database.query(query));
}

/** Asks for one table at a time. */
export async function collectKeySamples(sources: KeySources, ask: AskTable): Promise<KeySamples> {
  const ciphertexts: CiphertextSample[] = [];
  for (const { table, columns } of sources.ciphertexts) {
    ciphertexts.push(...readCiphertextRows(table, await ask(table, ciphertextQuery(table, columns))));
  }
  const texts: string[] = [];
  for (const { table, query } of sources.signedIds) {
    for (const { text } of await ask(table, query)) if (typeof text === "string") texts.push(text);
  }
  return { ciphertexts, texts };
}

/** Tries the environment's keys on the samples. */
export async function tryKeys(
  environment: Environment,
  samples: KeySamples,
): Promise<{ entry: KeyProofEntry; findings: Finding[] }> {
  const encryption = await proveKeys(environment, samples.ciphertexts);
  const secret = proveSecretKeyBase(environment.get("SECRET_KEY_BASE"), samples.texts);
  const findings = keyProofFindings(encryption);
  if (secret.ok === false) {
    findings.push({
      kind: "secret-key-base-wrong",
      level: "alarm",
      message: `SECRET_KEY_BASE in Chatwoot's environment does not fit: none of ${secret.found} signed file links in the data verifies with it`,
      hint: "With another one, images in articles and e-mails are lost and visitors lose their conversations. The restore points from before it changed have the right one: 'chatkeep restore POINT --only config --plan' shows what would change.",
    });
  }
  return {
    entry: { encryption: encryption.ok, secretKeyBase: secret.ok, checks: encryption.checks },
    findings,
  };
}
