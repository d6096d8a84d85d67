/** What a restore point holds, read from its own saved rows and files, with a COPY parser of the tests' own. */
import { createHash } from "node:crypto";
import { PointReader } from "../../src/job/point-reader.ts";
import { listPoints, type Point } from "../../src/job/points.ts";
import { Repository } from "../../src/repo/repository.ts";

const { signal } = new AbortController();

/** A row by its columns' names; null for NULL. */
export type SavedRow = Readonly<Record<string, string | null>>;

/** All points, oldest first, as a process that opens the repository now sees them. */
export async function savedPoints(repository: Repository): Promise<PointReader[]> {
  const { store, keys, config, keyId } = repository;
  const fresh = new Repository({ store, keys, config, keyId });
  const { points } = await listPoints(fresh, { signal });
  return points.toReversed().map((point: Point) => new PointReader(fresh, point, { signal }));
}

const ESCAPES: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" };

function parseValue(text: string): string | null {
  if (text === String.raw`\N`) return null;
  return text.replaceAll(/\\(.)/gs, (_whole, char: string) => ESCAPES[char] ?? char);
}

/** The rows of `public.<table>`; undefined when the point has no such table. */
export async function savedRows(point: PointReader, table: string): Promise<SavedRow[] | undefined> {
  const entry = (await point.manifest()).tables.find(({ schema, name }) => schema === "public" && name === table);
  if (entry === undefined) return undefined;
  const folder = `database/data/public.${table}`;
  const rows: SavedRow[] = [];
  for (const { name } of (await point.folder(folder)) ?? []) {
    const lines = (await point.readText(`${folder}/${name}`)).split("\n");
    if (lines.pop() !== "") throw new Error(`${folder}/${name} does not end with a whole row`);
    for (const line of lines) {
      const values = line.split("\t").map(parseValue);
      if (values.length !== entry.columns.length) throw new Error(`a row of ${table} is cut: ${line}`);
      rows.push(Object.fromEntries(entry.columns.map((column, at) => [column, values[at] ?? null])));
    }
  }
  if (rows.length !== entry.rows) throw new Error(`${table}: ${rows.length} rows saved, ${entry.rows} in the manifest`);
  return rows;
}

/** The MD5, as Active Storage writes it, and the size of every file of a storage service, by its key. */
export async function savedFiles(
  point: PointReader,
  service = "local",
): Promise<Map<string, { md5: string; bytes: number }>> {
  const files = new Map<string, { md5: string; bytes: number }>();
  const root = `storage/${service}`;
  for (const group of (await point.folder(root)) ?? []) {
    for (const folder of (await point.folder(`${root}/${group.name}`)) ?? []) {
      for (const node of (await point.folder(`${root}/${group.name}/${folder.name}`)) ?? []) {
        const hash = createHash("md5");
        let bytes = 0;
        for await (const chunk of point.readNode(node)) {
          hash.update(chunk);
          bytes += chunk.length;
        }
        files.set(node.name, { md5: hash.digest("base64"), bytes });
      }
    }
  }
  return files;
}
