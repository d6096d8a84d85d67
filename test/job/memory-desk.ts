/** The smallest support desk that is backed up into memory, without its code. */
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/progress.ts";
import { buildInstallation, type DemoInstallation } from "../../src/demo/installation.ts";
import { findInstallation } from "../../src/installation/find.ts";
import type { Installation } from "../../src/installation/installation.ts";
import { backup } from "../../src/job/backup.ts";
import type { BackupSummary } from "../../src/job/summaries.ts";
import { FALL_LIMITS } from "../../src/policy/shrinkage.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { startPostgres, type TestServer, type TestServerOptions } from "../harness/postgres.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { newRepository, signal } from "../repo/small-backup.ts";

/** Of the desk in its restore points. */
export const IDENTITY = { id: "0a61c0de-0000-4000-8000-000000000001", name: "desk" };

export interface MemoryDesk extends AsyncDisposable {
  readonly folder: TestFolder;
  readonly server: TestServer;
  readonly demo: DemoInstallation;
  readonly installation: Installation;
  readonly store: MemoryStore;
  /** Nothing is in it yet. */
  readonly repository: Repository;
}

export async function openMemoryDesk(options: TestServerOptions = {}): Promise<MemoryDesk> {
  const folder = await temporaryFolder();
  const server = await startPostgres(options);
  const dispose = async () => {
    await server.stop();
    await folder[Symbol.asyncDispose]();
  };
  try {
    const size = { messages: 60, conversations: 10, files: 6 };
    const root = folder.at("home");
    const demo = await buildInstallation({ root, address: server.address, size, isCheckout: false, signal });
    const found = await findInstallation({ root: demo.codeRoot }, { signal });
    const { code: _code, ...installation } = found.installation;
    const store = createMemoryStore();
    const repository = await newRepository(store);
    return { folder, server, demo, installation, store, repository, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Backs the desk up into the repository, as its process sees it. */
export async function backUpInto(repository: Repository, { installation, demo }: MemoryDesk): Promise<BackupSummary> {
  return await backup({
    repository,
    repositoryName: "memory",
    installation,
    identity: IDENTITY,
    address: demo.database,
    findings: [],
    tags: [],
    full: false,
    fullEveryMs: 7 * 24 * 3_600_000,
    fallLimits: FALL_LIMITS,
    ownConfig: undefined,
    workers: undefined,
    program: "chatkeep test",
    clock: systemClock,
    progress: silent,
    signal,
  });
}
