/** Puts a point's files into folders: uploads in Active Storage's own layout, configuration and code as they were. */
import { plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import type { Progress } from "../base/progress.ts";
import { blobPath } from "../chatwoot/blobs.ts";
import type { TreeNode } from "../format/node.ts";
import { decodeName } from "../point/layout.ts";
import { restoreTree, type RestoreProblem } from "../repo/restore-tree.ts";
import type { PointReader } from "./point-reader.ts";
import { expectedFiles, FileTally, shortFindings, wholeServices } from "./shortfall.ts";

export interface WriteOptions {
  progress: Progress;
  signal: AbortSignal;
}

export interface StorageOptions extends WriteOptions {
  /** All files are laid out as in a folder, whatever service they come from. */
  isLocal?: boolean;
}

export interface RestoredFiles {
  files: number;
  bytes: number;
  /** What could not be restored: everything else was. */
  findings: Finding[];
}

/** Uploaded files; those of a service that is no folder lie below `<service>/`, under their bare keys. */
export async function restoreStorage(
  reader: PointReader,
  target: string,
  options: StorageOptions,
): Promise<RestoredFiles> {
  const manifest = await reader.manifest();
  const tree = await reader.folderTree("storage");
  if (tree === undefined) return { files: 0, bytes: 0, findings: [] };
  const total = manifest.storage.reduce((sum, service) => sum + service.bytes, 0);
  options.progress.stage("restoring files", { total, unit: "bytes" });
  const folders = new Set(
    manifest.storage.filter((service) => service.kind === "local").map((service) => service.name),
  );
  const services = await wholeServices(reader, manifest.storage);
  const met = new FileTally(services);
  const place = (path: string, node: TreeNode): string | undefined => {
    if (node.type !== "file") return undefined;
    met.add(path, node);
    const service = path.slice(0, path.indexOf("/"));
    return options.isLocal === true || folders.has(decodeName(service))
      ? blobPath(".", decodeName(node.name)).slice(2)
      : `${service}/${node.name}`;
  };
  const { files, bytes, problems } = await restoreTree(reader.repository, tree, target, { ...options, place });
  const lacking = (await met.countLacking(reader, services)) + Math.max(0, met.files - files);
  const short = shortFindings("uploaded file", lacking, expectedFiles(manifest.storage));
  return { files, bytes, findings: [...problemFindings("uploaded file", problems), ...short] };
}

/** Configuration or code, with modes, times and symbolic links. */
export async function restoreFolder(
  reader: PointReader,
  part: "config" | "code",
  target: string,
  options: WriteOptions,
): Promise<RestoredFiles> {
  const tree = await reader.folderTree(part);
  if (tree === undefined) return { files: 0, bytes: 0, findings: [] };
  options.progress.stage(`restoring ${part}`, { unit: "bytes" });
  const { files, symlinks, bytes, problems } = await restoreTree(reader.repository, tree, target, options);
  const manifest = await reader.manifest();
  const expected = part === "config" ? manifest.config.files : manifest.code.files;
  const short = shortFindings(`${part} file`, expected - files - symlinks, expected);
  return { files, bytes, findings: [...problemFindings(`${part} file`, problems), ...short] };
}

function problemFindings(what: string, problems: readonly RestoreProblem[]): Finding[] {
  if (problems.length === 0) return [];
  const shown = problems.slice(0, 3).map(({ path, reason }) => `${path} (${reason})`);
  return [
    {
      kind: "files-not-restored",
      level: "alarm",
      message: `${plural(problems.length, what)} could not be restored: ${shown.join("; ")}${problems.length > 3 ? "; …" : ""}`,
      hint: "Everything else was restored. 'chatkeep verify --read-data' names the damage; another restore point may hold these files.",
    },
  ];
}
