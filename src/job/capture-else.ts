/** Everything of a restore point that is neither a row nor an uploaded file: configuration, code, keys, version. */
import { hkdfSync } from "node:crypto";
import { Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { ChunkId } from "../base/ids.ts";
import { MIGRATIONS_QUERY } from "../chatwoot/database.ts";
import { fingerprintSecrets } from "../chatwoot/secrets.ts";
import { identifySchema } from "../chatwoot/versions.ts";
import type { Keys } from "../format/crypto.ts";
import { fileNode } from "../format/node.ts";
import { captureCode, type CodeCapture } from "../installation/code.ts";
import { captureConfig } from "../installation/config.ts";
import type { Installation } from "../installation/installation.ts";
import { readReleases } from "../installation/releases.ts";
import { formatEnvironment, SAVED_ENVIRONMENT } from "../point/environment.ts";
import { OWN_CONFIG } from "../point/layout.ts";
import type { CodeEntry, KeyProofEntry, Manifest } from "../point/manifest.ts";
import type { DatabaseSnapshot } from "../postgres/snapshot.ts";
import type { StoredFile } from "../repo/store-file.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../system/temporary.ts";
import { type FileToSave, saveFiles, type SavedFile } from "./capture-files.ts";
import { type AskTable, collectKeySamples, findKeySources, tryKeys } from "./prove-keys.ts";
import type { FileTask } from "./sealing-tasks.ts";

/** What must be read in the same snapshot as the rows. */
export interface SnapshotFacts {
  migrations: string[];
  /** Whether the installation's keys open what those rows hold. */
  keyProof: Awaited<ReturnType<typeof tryKeys>>;
}

export interface ElseCapture extends StoredElse {
  chatwoot: Manifest["chatwoot"];
  secrets: Manifest["secrets"];
  keyProof: KeyProofEntry;
}

/** Reads them under short locks, one table's at a time; refuses tables that were truncated or rewritten since the snapshot. */
export async function readSnapshotFacts(
  snapshot: DatabaseSnapshot,
  { environment }: Installation,
): Promise<SnapshotFacts> {
  const ask: AskTable = async (table, query) =>
    await snapshot.lookAt([{ schema: "public", name: table }], (connection) => connection.query(query));
  const migrations = await ask("schema_migrations", MIGRATIONS_QUERY);
  const samples = await collectKeySamples(await findKeySources(snapshot.connection), async (table, query) => {
    try {
      return await ask(table, query);
    } catch (error) {
      // The rows are told of where they are saved; keys are tried on what can be read.
      if (!isFailure(error, "database/unreadable")) throw error;
      return [];
    }
  });
  return {
    migrations: migrations.map(({ version }) => String(version)),
    keyProof: await tryKeys(environment, samples),
  };
}

export interface GatherOptions {
  installation: Installation;
  /** Chatkeep's own configuration file, saved below `config/chatkeep/`. */
  ownConfig: string | undefined;
  signal: AbortSignal;
}

/** What was found on the disk and by git, and is not in the repository yet. */
interface Gathered {
  config: { files: FileToSave[]; findings: Finding[] };
  code: CodeCapture | undefined;
}

/**
 * Configuration and code, looked for from the moment this is made: git and the disk work while the repository is
 * opened and the uploaded files are saved. Disposing of it stops what still runs and removes what git wrote.
 */
export class Gathering implements AsyncDisposable {
  readonly #stop = new AbortController();
  readonly #work: Promise<TemporaryFolder>;
  readonly #found: Promise<Gathered>;

  constructor(options: GatherOptions) {
    const signal = AbortSignal.any([options.signal, this.#stop.signal]);
    // Git writes its bundle into a file; it holds code, and is gone when this is.
    this.#work = openTemporaryFolder("chatkeep-code");
    this.#found = this.#gather({ ...options, signal });
    // It is awaited later, or never when something else fails first.
    this.#found.catch(() => {});
  }

  get found(): Promise<Gathered> {
    return this.#found;
  }

  async #gather({ installation, ownConfig, signal }: GatherOptions): Promise<Gathered> {
    const work = await this.#work;
    const listed = await captureConfig(installation, { signal });
    const files: FileToSave[] = [...listed.files];
    if (ownConfig !== undefined) files.push({ path: OWN_CONFIG, absolute: ownConfig });
    const config = { files, findings: listed.findings };
    if (installation.code === undefined) return { config, code: undefined };
    const except = savedElsewhere(installation);
    return { config, code: await captureCode(installation.code.root, { into: work.path, except, signal }) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Failure("run/cancelled", "the backup ended"));
    await this.#found.catch(() => {});
    const work = await this.#work.catch(() => undefined);
    await work?.[Symbol.asyncDispose]();
  }
}

export interface StoreElseOptions {
  installation: Installation;
  storeFiles: (tasks: FileTask[]) => Promise<StoredFile[]>;
  storeContent: (bytes: Buffer) => Promise<ChunkId[]>;
}

/** Configuration and code as they are stored. */
export interface StoredElse {
  config: SavedFile[];
  code: SavedFile[];
  codeEntry: CodeEntry;
  findings: Finding[];
}

export async function storeElse(gathering: Gathering, options: StoreElseOptions): Promise<StoredElse> {
  const { installation, storeFiles } = options;
  const { config, code } = await gathering.found;
  const savedConfig = await saveFiles(config.files, storeFiles, "config");
  savedConfig.saved.push(await saveText(SAVED_ENVIRONMENT, formatEnvironment(installation.environment), options));
  for (const { path, text } of installation.madeFiles) savedConfig.saved.push(await saveText(path, text, options));
  const savedCode = await saveFiles(code?.files ?? [], storeFiles, "code");
  return {
    config: savedConfig.saved,
    code: savedCode.saved,
    codeEntry: codeEntry(installation, code, savedCode.saved),
    findings: [...config.findings, ...savedConfig.findings, ...(code?.findings ?? []), ...savedCode.findings],
  };
}

/** Tries the saved keys on what the database holds, and adds what only the database knows. */
export async function judgeElse(
  stored: StoredElse,
  { installation, facts, keys }: { installation: Installation; facts: SnapshotFacts; keys: Keys },
): Promise<ElseCapture> {
  return {
    ...stored,
    chatwoot: {
      version: installation.version ?? (await versionOfSchema(facts.migrations)),
      edition: installation.edition ?? null,
      commit: stored.codeEntry.head ?? installation.commit ?? null,
      ...(installation.image === undefined ? {} : { image: installation.image }),
      migrations: facts.migrations,
    },
    secrets: fingerprintSecrets(installation.environment, fingerprintKey(keys)),
    keyProof: facts.keyProof.entry,
    findings: [...stored.findings, ...facts.keyProof.findings],
  };
}

/** Where the code does not tell, the database does: the newest release whose migrations these are, if there is one. */
async function versionOfSchema(migrations: readonly string[]): Promise<string | null> {
  const { releases, isFork } = identifySchema(migrations, await readReleases());
  return isFork ? null : (releases.at(-1)?.replace(/^v/, "") ?? null);
}

async function saveText(path: string, text: string, { storeContent }: StoreElseOptions): Promise<SavedFile> {
  const bytes = Buffer.from(text, "utf8");
  const name = path.slice(path.lastIndexOf("/") + 1);
  return { path, node: fileNode({ name, size: bytes.length, content: await storeContent(bytes), mode: 0o600 }) };
}

/** From the repository's master key: whoever has that can read the secrets themselves. */
function fingerprintKey(keys: Keys): Buffer {
  return Buffer.from(hkdfSync("sha256", keys.encrypt, "", "chatkeep secret fingerprints", 32));
}

/** What lies in the code's folder and is saved as something else. */
export function savedElsewhere(installation: Installation): string[] {
  const roots = installation.storage.flatMap((service) => (service.kind === "local" ? service.roots : []));
  return [...roots, ...installation.configFiles, ...(installation.envFile === undefined ? [] : [installation.envFile])];
}

function codeEntry(
  installation: Installation,
  captured: CodeCapture | undefined,
  saved: readonly SavedFile[],
): CodeEntry {
  if (installation.code === undefined || captured === undefined) return { kind: "none", files: 0 };
  return {
    kind: installation.code.kind,
    ...(captured.head === undefined ? {} : { head: captured.head }),
    ...(captured.branch === undefined ? {} : { branch: captured.branch }),
    ...(captured.origin === undefined ? {} : { origin: captured.origin }),
    isDirty: captured.isDirty,
    bundle: saved.some((file) => file.path.endsWith(".bundle")),
    files: saved.length,
  };
}
