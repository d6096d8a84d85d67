/** Compares what is in a point with what its lists say: restic's `repair` and `rewrite` leave less under the same name. */
import { formatCount, plural } from "../base/bytes.ts";
import { isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { TreeNode } from "../format/node.ts";
import { encodeName } from "../point/layout.ts";
import { countMissing, isAbsent, type MissingBlob, type ServiceEntry } from "../point/manifest.ts";
import { parseFolders } from "../point/ranges.ts";
import { isDamage } from "../repo/chunk.ts";
import type { PointReader } from "./point-reader.ts";
import { blobFileName } from "./storage-state.ts";

interface Amount {
  files: number;
  bytes: number;
}

/** How many files a point's lists say that it has. */
export function expectedFiles(storage: readonly ServiceEntry[]): number {
  return storage.reduce((sum, service) => sum + service.blobs - countMissing(service).absent, 0);
}

/** A service of which all is known that is not as the database describes it. */
export type WholeService = Pick<ServiceEntry, "name" | "blobs" | "bytes"> & { allMissing: readonly MissingBlob[] };

export async function wholeServices(reader: PointReader, storage: readonly ServiceEntry[]): Promise<WholeService[]> {
  const services: WholeService[] = [];
  for (const service of storage) services.push({ ...service, allMissing: await reader.missing(service) });
  return services;
}

/** Counts uploaded files by service and folder as they are met. */
export class FileTally {
  /** By `<service>/<folder>`, the service as it is written in the point. */
  readonly #found = new Map<string, Amount>();
  /** `<service>/<file>` of those that were saved as they were found: their sizes are not the database's. */
  readonly #asFound: ReadonlySet<string>;
  #files = 0;

  constructor(storage: readonly WholeService[]) {
    this.#asFound = new Set(
      storage.flatMap(({ name, allMissing }) =>
        allMissing
          .filter((blob) => blob.kept !== true && !isAbsent(blob))
          .map(({ key }) => `${encodeName(name)}/${blobFileName(key)}`),
      ),
    );
  }

  get files(): number {
    return this.#files;
  }

  /** @param path below `storage/`: `<service>/<group>/<folder>/<file>`. */
  add(path: string, node: TreeNode): void {
    const [service = "", , folder = "", name = ""] = path.split("/");
    const key = `${service}/${folder}`;
    const amount = this.#found.get(key) ?? { files: 0, bytes: 0 };
    amount.files += 1;
    if (!this.#asFound.has(`${service}/${name}`)) amount.bytes += Number(node.size ?? 0);
    this.#found.set(key, amount);
    this.#files += 1;
  }

  /** How many files are lacking or too short, at the least. */
  async countLacking(reader: PointReader, storage: readonly WholeService[]): Promise<number> {
    let lacking = 0;
    for (const service of storage) {
      const encoded = encodeName(service.name);
      for (const [folder, expected] of await expectedAmounts(reader, service)) {
        const found = folder === undefined ? this.#total(encoded) : this.#found.get(`${encoded}/${folder}`);
        const files = expected.files - (found?.files ?? 0);
        if (files > 0) lacking += files;
        else if ((found?.bytes ?? 0) < expected.bytes) lacking += 1;
      }
    }
    return lacking;
  }

  #total(service: string): Amount {
    const total = { files: 0, bytes: 0 };
    for (const [key, { files, bytes }] of this.#found) {
      if (!key.startsWith(`${service}/`)) continue;
      total.files += files;
      total.bytes += bytes;
    }
    return total;
  }
}

/** By folder; as one amount without a folder where the list of them cannot be read. */
async function expectedAmounts(reader: PointReader, service: WholeService): Promise<Map<string | undefined, Amount>> {
  const amounts = new Map<string | undefined, Amount>();
  const isListed = await readFolders(reader, service, amounts);
  for (const blob of service.allMissing) {
    if (blob.kept === true) continue;
    const folder = isListed ? (BigInt(blob.id) >> BigInt(LIMITS.blobFolderBits)).toString() : undefined;
    const amount = amounts.get(folder);
    if (amount === undefined) continue;
    amount.bytes -= blob.bytes;
    if (isAbsent(blob)) amount.files -= 1;
  }
  return amounts;
}

async function readFolders(
  reader: PointReader,
  { name, blobs, bytes }: WholeService,
  into: Map<string | undefined, Amount>,
): Promise<boolean> {
  try {
    for (const entry of parseFolders(await reader.readText(`ranges/storage/${encodeName(name)}.json`)))
      into.set(entry.folder, { files: entry.count, bytes: entry.bytes });
    return true;
  } catch (error) {
    if (!isDamage(error) && !isFailure(error, "point/invalid")) throw error;
    into.set(undefined, { files: blobs, bytes });
    return false;
  }
}

/** @param what one of them, as `uploaded file`. */
export function shortFindings(what: string, lacking: number, expected: number): Finding[] {
  if (lacking <= 0) return [];
  return [
    {
      kind: "files-fewer-than-listed",
      level: "alarm",
      message: `${plural(lacking, what)} of ${formatCount(expected)} that the restore point lists came back short or not at all`,
      hint: "Something changed this restore point after it was made, or it is damaged: use another one, and run 'chatkeep verify --read-data'.",
    },
  ];
}
