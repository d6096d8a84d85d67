/** Everything of a restore point that is neither a row nor an uploaded file: configuration, code, keys, version. */
import { hkdfSync } from "node:crypto";
import type { Finding } from "../base/findings.ts";
import type { ChunkId } from "../base/ids.ts";
import type { Progress } from "../base/progress.ts";
import { MIGRATIONS_QUERY } from "../chatwoot/database.ts";
import { fingerprintSecrets } from "../chatwoot/secrets.ts";
import { identifySchema } from "../chatwoot/versions.ts";
import type { Keys } from "../format/crypto.ts";
import { fileNode } from "../format/node.ts";
import { captureCode } from "../installation/code.ts";
import { captureConfig } from "../installation/config.ts";
import type { Installation } from "../installation/installation.ts";
import { readReleases } from "../installation/releases.ts";
import { formatEnvironment, SAVED_ENVIRONMENT } from "../point/environment.ts";
import { OWN_CONFIG } from "../point/layout.ts";
import type { CodeEntry, KeyProofEntry, Manifest } from "../point/manifest.ts";
import type { DatabaseSnapshot } from "../postgres/snapshot.ts";
import type { StoredFile } from "../repo/store-file.ts";
import { openTemporaryFolder } from "../system/temporary.ts";
import { type FileToSave, saveFiles, type SavedFile } from "./capture-files.ts";
import { type AskTable, collectKeySamples, findKeySources, type KeySamples, tryKeys } from "./prove-keys.ts";
import type { FileTask } from "./sealing-tasks.ts";

/** What must be read in the same snapshot as the rows. */
export interface SnapshotFacts {
  migrations: string[];
  samples: KeySamples;
}

export interface ElseCapture {
  config: SavedFile[];
  code: SavedFile[];
  codeEntry: CodeEntry;
  chatwoot: Manifest["chatwoot"];
  secrets: Manifest["secrets"];
  keyProof: KeyProofEntry;
  findings: Finding[];
}

/** Reads them under short locks, one table's at a time; refuses tables that were truncated or rewritten since the snapshot. */
export async function readSnapshotFacts(snapshot: DatabaseSnapshot): Promise<SnapshotFacts> {
  const ask: AskTable = async (table, query) =>
    await snapshot.lookAt([{ schema: "public", name: table }], (connection) => connection.query(query));
  const migrations = await ask("schema_migrations", MIGRATIONS_QUERY);
  const samples = await collectKeySamples(await findKeySources(snapshot.connection), ask);
  return { migrations: migrations.map(({ version }) => String(version)), samples };
}

export interface ElseOptions {
  installation: Installation;
  facts: SnapshotFacts;
  /** Chatkeep's own configuration file, saved below `config/chatkeep/`. */
  ownConfig: string | undefined;
  keys: Keys;
  storeFiles: (tasks: FileTask[]) => Promise<StoredFile[]>;
  storeContent: (bytes: Buffer) => Promise<ChunkId[]>;
  progress: Progress;
  signal: AbortSignal;
}

export async function captureEverythingElse(options: ElseOptions): Promise<ElseCapture> {
  const { installation, facts, signal } = options;
  const listed = await captureConfig(installation, { signal });
  const configFiles: FileToSave[] = [...listed.files];
  if (options.ownConfig !== undefined) configFiles.push({ path: OWN_CONFIG, absolute: options.ownConfig });
  const config = await saveFiles(configFiles, options.storeFiles, "config");
  config.saved.push(await saveEnvironment(options));
  const code = await saveCode(options);
  const proof = await tryKeys(installation.environment, facts.samples);
  return {
    config: config.saved,
    code: code.saved,
    codeEntry: code.entry,
    chatwoot: {
      version: installation.version ?? (await versionOfSchema(facts.migrations)),
      edition: installation.edition ?? null,
      commit: code.entry.head ?? null,
      migrations: facts.migrations,
    },
    secrets: fingerprintSecrets(installation.environment, fingerprintKey(options.keys)),
    keyProof: proof.entry,
    findings: [...listed.findings, ...config.findings, ...code.findings, ...proof.findings],
  };
}

/** Where the code does not tell, the database does: the newest release whose migrations these are, if there is one. */
async function versionOfSchema(migrations: readonly string[]): Promise<string | null> {
  const { releases, isFork } = identifySchema(migrations, await readReleases());
  return isFork ? null : (releases.at(-1)?.replace(/^v/, "") ?? null);
}

async function saveEnvironment({ installation, storeContent }: ElseOptions): Promise<SavedFile> {
  const bytes = Buffer.from(formatEnvironment(installation.environment), "utf8");
  const name = SAVED_ENVIRONMENT.slice(SAVED_ENVIRONMENT.lastIndexOf("/") + 1);
  const node = fileNode({ name, size: bytes.length, content: await storeContent(bytes), mode: 0o600 });
  return { path: SAVED_ENVIRONMENT, node };
}

/** From the repository's master key: whoever has that can read the secrets themselves. */
function fingerprintKey(keys: Keys): Buffer {
  return Buffer.from(hkdfSync("sha256", keys.encrypt, "", "chatkeep secret fingerprints", 32));
}

/** What lies in the code's folder and is saved as something else. */
function savedElsewhere(installation: Installation): string[] {
  const roots = installation.storage.flatMap((service) => (service.kind === "local" ? [service.root] : []));
  return [...roots, ...installation.configFiles, ...(installation.envFile === undefined ? [] : [installation.envFile])];
}

async function saveCode(options: ElseOptions): Promise<{ saved: SavedFile[]; entry: CodeEntry; findings: Finding[] }> {
  const { installation, signal } = options;
  if (installation.code === undefined) return { saved: [], entry: { kind: "none", files: 0 }, findings: [] };
  // Git writes its bundle into a file; it holds code, and is gone when this returns.
  await using work = await openTemporaryFolder("chatkeep-code");
  const captured = await captureCode(installation.code.root, {
    into: work.path,
    except: savedElsewhere(installation),
    signal,
  });
  const { saved, findings } = await saveFiles(captured.files, options.storeFiles, "code");
  const entry: CodeEntry = {
    kind: installation.code.kind,
    ...(captured.head === undefined ? {} : { head: captured.head }),
    ...(captured.branch === undefined ? {} : { branch: captured.branch }),
    ...(captured.origin === undefined ? {} : { origin: captured.origin }),
    isDirty: captured.isDirty,
    bundle: saved.some((file) => file.path.endsWith(".bundle")),
    files: saved.length,
  };
  return { saved, entry, findings: [...captured.findings, ...findings] };
}
