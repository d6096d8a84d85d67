/** The rows of an installation while they are being made up, table by table, before any is loaded. */
import { formatInstant } from "../../base/clock.ts";
import type { Row } from "../database.ts";
import {
  blobIdSigner,
  deriveEncryptionKeys,
  type EncryptionKeys,
  encryptDeterministic,
  encryptText,
} from "../rails-secrets.ts";
import type { SeededRandom } from "../random.ts";
import type { DemoSecrets } from "../environment.ts";

/** When the demo's history ends: 2026-06-17T00:00Z, the day Chatwoot 4.15.1 came out. */
export const HISTORY_ENDS_AT = 1_781_654_400_000;
export const DAY_MS = 24 * 60 * 60 * 1000;

export interface SeedRows {
  readonly random: SeededRandom;
  readonly tables: ReadonlyMap<string, readonly Row[]>;
  /** Plain texts of what is stored encrypted. */
  readonly hidden: readonly string[];
  /** Adds a row without an id. */
  add(table: string, row: Row): void;
  /** Adds a row under the table's next id, which it returns. Now and then an id is skipped: somebody deleted it. */
  addWithId(table: string, row: Row): number;
  /** A new secret, as an encrypted column holds it. */
  hide(text: string): string;
  /** The same for a column that is encrypted deterministically. */
  hideFixed(text: string): string;
  signBlobId(blobId: number): string;
}

/** A time as Chatwoot's columns hold it: UTC, to the microsecond. */
export function formatTime(ms: number, random: SeededRandom): string {
  return `${formatInstant(Math.floor(ms)).slice(0, 23)}${String(random.below(1000)).padStart(3, "0")}`;
}

/** `created_at` and `updated_at`. */
export function times(random: SeededRandom, createdMs: number): { created_at: string; updated_at: string } {
  const at = formatTime(createdMs, random);
  return { created_at: at, updated_at: at };
}

export function startRows(random: SeededRandom, secrets: DemoSecrets): SeedRows {
  const tables = new Map<string, Row[]>();
  const ids = new Map<string, number>();
  const hidden: string[] = [];
  const keys: EncryptionKeys = deriveEncryptionKeys(secrets);
  const rowsOf = (table: string): Row[] => {
    const rows = tables.get(table) ?? [];
    tables.set(table, rows);
    return rows;
  };
  return {
    random,
    tables,
    hidden,
    signBlobId: blobIdSigner(secrets.secretKeyBase),
    add(table, row) {
      rowsOf(table).push(row);
    },
    addWithId(table, row) {
      const last = ids.get(table) ?? 0;
      const id = last + (last > 3 && random.chance(0.02) ? 2 + random.below(3) : 1);
      ids.set(table, id);
      rowsOf(table).push({ id, ...row });
      return id;
    },
    hide(text) {
      hidden.push(text);
      return encryptText(keys, text, random.bytes(12));
    },
    hideFixed(text) {
      hidden.push(text);
      return encryptDeterministic(keys, text);
    },
  };
}
