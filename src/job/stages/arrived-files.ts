/**
 * Which files have arrived in another service than their rows name, and telling just those rows: of a file that could not be brought
 * there, a row would say that it lies where it does not.
 */
import type { Queries } from "../list-storage.ts";
import type { Move } from "./storage-moves.ts";

/** Of this session alone: what is said in it is gone with it, and after a kill every file is looked at anew. */
const TABLE = "pg_temp.chatkeep_arrived";

export class ArrivedFiles {
  readonly #database: Queries;

  private constructor(database: Queries) {
    this.#database = database;
  }

  /** For one service. @param database The restored one. */
  static async begin(database: Queries): Promise<ArrivedFiles> {
    await database.query(`drop table if exists ${TABLE}`);
    await database.query(`create temporary table chatkeep_arrived (key text not null)`);
    return new ArrivedFiles(database);
  }

  async add(keys: readonly string[]): Promise<void> {
    if (keys.length > 0) await this.#database.query(`insert into ${TABLE} select unnest($1::text[])`, [keys]);
  }

  /**
   * Tells the rows of those that were added.
   * @param others Ids of rows that are told, too.
   * @returns how many rows go on naming the service that they named.
   */
  async tell({ from, to }: Move, others: readonly string[]): Promise<number> {
    await this.#database.query(`analyze ${TABLE}`);
    await this.#database.query(
      `update public.active_storage_blobs set service_name = $1
       where service_name = $2 and (key in (select key from ${TABLE}) or id = any($3::bigint[]))`,
      [to, from, others],
    );
    const [row] = await this.#database.query<{ count: number }>(
      "select count(*)::int as count from public.active_storage_blobs where service_name = $1",
      [from],
    );
    return row?.count ?? 0;
  }
}
