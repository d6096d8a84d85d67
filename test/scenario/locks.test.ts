/** Which lock each verb takes, as its repository's server sees it. */
import assert from "node:assert/strict";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { decodeLock } from "../../src/format/lock-file.ts";
import { decodeUnpacked } from "../../src/format/unpacked.ts";
import { callCli } from "../harness/cli.ts";
import { startGuard } from "../harness/guard.ts";
import { startRestServer } from "../harness/rclone.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { openDesk } from "./desk.ts";

const POINT = "latest";

/** In an order in which each finds what it needs. */
const TABLE: readonly [verb: string, lock: "exclusive" | "shared" | "none"][] = [
  ["backup", "shared"],
  ["backup", "shared"],
  ["list", "none"],
  [`show ${POINT}`, "none"],
  [`ls ${POINT}`, "none"],
  [`dump ${POINT} RESTORE.md`, "none"],
  [`diff ${POINT} ${POINT}`, "none"],
  ["verify", "shared"],
  ["stats", "shared"],
  [`restore ${POINT} --to restored --only storage --yes`, "shared"],
  [`drill ${POINT}`, "shared"],
  [`hold ${POINT} --name audit`, "shared"],
  ["hold", "none"],
  [`hold --release ${POINT} audit`, "exclusive"],
  ["key list", "shared"],
  ["forget --all --keep-last 1", "exclusive"],
  ["prune", "exclusive"],
  ["repair index", "exclusive"],
  ["key add --generate added.password", "shared"],
  // From here on the password is another one.
  ["key passwd --generate new.password", "exclusive"],
];

test("who removes something has the repository alone, who adds or reads long shares it, who looks takes no lock", async () => {
  await using desk = await openDesk({ size: { messages: 60, conversations: 10, files: 6 } });
  const { repository, password } = await makeCheapToOpen(desk);
  await using server = await startRestServer();
  cpSync(desk.repository, join(server.folder, "desk"), { recursive: true });
  await using guard = await startGuard(`http://127.0.0.1:${server.port}`);
  const location = `rest:${guard.endpoint}/desk/`;
  const env = { ...server.env, XDG_CACHE_HOME: join(desk.root, "cache"), CHATKEEP_PASSWORD: password };
  const seen: [string, string][] = [];
  for (const [verb] of TABLE) {
    guard.sent.clear();
    const all = ["--config", desk.config, "--repository", location, ...verb.split(" ")];
    const { status, stderr } = await callCli(all, { cwd: desk.root, env });
    assert.equal(status, 0, `${verb}: ${stderr}`);
    const locks = [...guard.sent]
      .filter(([path]) => path.includes("/locks/"))
      .map(([, bytes]) => decodeLock(decodeUnpacked(repository.keys, bytes)));
    seen.push([verb, locks.length === 0 ? "none" : locks.some(({ exclusive }) => exclusive) ? "exclusive" : "shared"]);
  }
  assert.deepEqual(seen, TABLE);
});
