/** Makes a desk's repository quick to open: scrypt as it should be costs most of a second at every start. */
import { createHash } from "node:crypto";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createKeyFile } from "../../src/format/key-file.ts";
import { openRepository, type Repository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { CHEAP } from "../repo/small-backup.ts";
import type { Desk } from "./desk.ts";

const CREATED = { username: "tester", hostname: "test-host", created: "2026-01-01T00:00:00Z" };

export interface OpenedDesk {
  /** The repository as a reader in this process sees it. */
  readonly repository: Repository;
  readonly password: string;
}

/** Gives the repository a key file with low costs, with the same password, in the place of its own one. */
export async function makeCheapToOpen(desk: Pick<Desk, "repository" | "passwordFile">): Promise<OpenedDesk> {
  const password = (await readFile(desk.passwordFile, "utf8")).trim();
  const { signal } = new AbortController();
  const { keys } = await openRepository(openLocalStore(desk.repository), { password, signal });
  const folder = join(desk.repository, "keys");
  const costly = await readdir(folder);
  const bytes = await createKeyFile(password, keys, CREATED, CHEAP);
  await writeFile(join(folder, createHash("sha256").update(bytes).digest("hex")), bytes);
  for (const name of costly) await rm(join(folder, name));
  return { repository: await openRepository(openLocalStore(desk.repository), { password, signal }), password };
}
