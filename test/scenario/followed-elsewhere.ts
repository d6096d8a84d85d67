/** A desk whose repository has the log of another server than the one that the desk is on now. */
import { readFile } from "node:fs/promises";
import { writeJournal } from "../../src/job/continuous/journal.ts";
import { listPoints } from "../../src/job/points.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { signal } from "../repo/small-backup.ts";
import type { Desk } from "./desk.ts";

const FROM = 0x1_0000_0000n;
const BYTES = Buffer.alloc(16);

/** The desk has a restore point already, which says whose the log is. */
export async function followElsewhere(desk: Pick<Desk, "repository" | "passwordFile">): Promise<void> {
  const password = (await readFile(desk.passwordFile, "utf8")).trim();
  const repository = await openRepository(openLocalStore(desk.repository), { password, signal });
  const [point] = (await listPoints(repository, { signal })).points;
  const installation = point?.installationId ?? "";
  const line = { installation, systemId: "7000000000000000001", timeline: 1 };
  const span = {
    ...line,
    from: FROM,
    to: FROM + BigInt(BYTES.length),
    firstCommitUs: undefined,
    lastCommitUs: undefined,
  };
  await writeJournal(repository, { span, commits: [], bytes: [BYTES] }, { signal });
}
