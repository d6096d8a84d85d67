/**
 * What the parent's own rows of `active_storage_blobs` say: a file may be taken over from the parent only while its row
 * still asks for the same bytes.
 */
import type { TreeNode } from "../format/node.ts";
import { rangeFile, tableFolder } from "../point/layout.ts";
import type { Manifest } from "../point/manifest.ts";
import { isDamage } from "../repo/chunk.ts";
import { readCopyField } from "./copy-text.ts";
import type { PointReader } from "./point-reader.ts";
import type { BlobRow } from "./storage-state.ts";

interface KnownRow {
  key: string;
  checksum: string;
  bytes: string;
}

const TABLE = { schema: "public", name: "active_storage_blobs" };

export class ParentRows {
  readonly #reader: PointReader;
  readonly #table: Manifest["tables"][number] | undefined;
  /** The last buckets that were read: folders are looked at in the order of their ids, a few at once. */
  readonly #buckets = new Map<string, Promise<Map<string, KnownRow>>>();
  #nodes: Promise<Map<string, TreeNode>> | undefined;

  constructor(reader: PointReader, manifest: Manifest) {
    this.#reader = reader;
    this.#table = manifest.tables.find((table) => table.schema === TABLE.schema && table.name === TABLE.name);
  }

  /** True when the parent has this row, and it asks for the same bytes. */
  async has(blob: Pick<BlobRow, "id" | "key" | "checksum" | "bytes">): Promise<boolean> {
    const row = (await this.#bucket(blob.id)).get(blob.id.toString());
    return row?.key === blob.key && row.checksum === (blob.checksum ?? "") && row.bytes === blob.bytes.toString();
  }

  async #bucket(id: bigint): Promise<Map<string, KnownRow>> {
    const k = this.#table?.k;
    const name = k == null ? "all" : (id >> BigInt(k)).toString();
    const known = this.#buckets.get(name);
    if (known !== undefined) return await known;
    // Where they are damaged every file is read again; the repository keeps what could not be read, and that is told of.
    const reading = this.#read(name).catch((error: unknown) => {
      if (!isDamage(error)) throw error;
      return new Map<string, KnownRow>();
    });
    this.#buckets.set(name, reading);
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size > 4 && oldest !== undefined) this.#buckets.delete(oldest);
    return await reading;
  }

  async #read(bucket: string): Promise<Map<string, KnownRow>> {
    const rows = new Map<string, KnownRow>();
    const table = this.#table;
    if (table === undefined) return rows;
    this.#nodes ??= this.#reader
      .folder(`database/data/${tableFolder(table.schema, table.name)}`)
      .then((nodes) => new Map(nodes?.map((node) => [node.name, node])));
    const node = (await this.#nodes).get(rangeFile(bucket));
    if (node === undefined) return rows;
    const at = (column: string) => table.columns.indexOf(column);
    const [id, key, checksum, bytes] = [at("id"), at("key"), at("checksum"), at("byte_size")];
    const text = Buffer.concat(await Array.fromAsync(this.#reader.readNode(node))).toString("utf8");
    for (const line of text.split("\n")) {
      const fields = line.split("\t");
      // NULL reads as empty, which no checksum is.
      const field = (index: number) => readCopyField(fields[index] ?? "") ?? "";
      if (line !== "") rows.set(field(id), { key: field(key), checksum: field(checksum), bytes: field(bytes) });
    }
    return rows;
  }
}
