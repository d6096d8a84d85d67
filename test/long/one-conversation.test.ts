/** What docs/moments.md says of one conversation that was deleted brings it back, with its files, and touches nothing else. */
import assert from "node:assert/strict";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { attachFile, sendMessage } from "../../src/demo/change.ts";
import { storagePath } from "../../src/demo/files.ts";
import { seededRandom } from "../../src/demo/random.ts";
import type { MomentsSummary } from "../../src/job/commits-summary.ts";
import { listPoints } from "../../src/job/points.ts";
import { run } from "../harness/run.ts";
import { reopen, signal } from "../repo/small-backup.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { openDesk } from "../scenario/desk.ts";
import { onDatabase } from "../scenario/hostile-installation.ts";
import { FOLLOWED, protect } from "../scenario/protected-desk.ts";

const CHATKEEP = join(import.meta.dirname, "../../bin/chatkeep.js");

/** The shell of the section, block by block. */
async function blocks(): Promise<string[]> {
  const text = await readFile(join(import.meta.dirname, "../../docs/moments.md"), "utf8");
  const [, section = ""] = /^## One conversation\n([\s\S]*?)^## /m.exec(text) ?? [];
  return [...section.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = ""]) => block);
}

/** What the reader names both databases by. */
function withoutNames(block: string): string {
  return block.replaceAll(/^(look|live)=.*\n/gm, "");
}

test("the commands for one conversation bring back its rows, number and files, and nothing else changes", async () => {
  await using desk = await openDesk({
    server: { settings: [...FOLLOWED] },
    size: { messages: 80, conversations: 12, files: 6 },
    hasOwnState: true,
  });
  const { repository } = await makeCheapToOpen(desk);
  const { installation } = desk;
  const { database } = installation.database;
  await desk.summary(["backup"]);
  const [point] = (await listPoints(repository, { signal })).points;
  const protection = await protect(desk.server, { id: point?.installationId ?? "", name: "desk" }, { database });
  const ask = async (sql: string) => await desk.server.query(sql, database);
  const random = seededRandom("one conversation");
  const file = await onDatabase(installation, async (client) => {
    return await attachFile(client, random, installation.storageRoot);
  });
  // A file of the last minutes may still be on its way, and is not put back.
  await ask("update active_storage_blobs set created_at = created_at - interval '1 hour'");
  await desk.summary(["backup"]);
  const [gone] = await ask(
    `select c.id, c.display_id, c.account_id from conversations c join messages m on m.conversation_id = c.id
     where m.content is not null order by m.id desc limit 1`,
  );
  const { id, display_id: number, account_id: account } = gone as Record<string, unknown>;
  const tables = ["conversations", "messages", "attachments", "active_storage_attachments", "active_storage_blobs"];
  const sums = async () => {
    const counted = tables.map((name) => `select md5(string_agg(t::text, ',' order by id)) as sum from ${name} t`);
    return await ask(counted.join(" union all "));
  };
  const before = await sums();
  const messages = `select id from messages where conversation_id = ${String(id)}`;
  const attachments = `select id from attachments where message_id in (${messages})`;
  const files = `from active_storage_attachments where record_type = 'Attachment' and record_id in (${attachments})`;
  const keys = await ask(`select key from active_storage_blobs where id in (select blob_id ${files})`);
  assert.ok(keys.some(({ key }) => key === file.key));
  // As Chatwoot does: the conversation first, and then what belongs to it.
  await ask(`delete from conversations where id = ${String(id)}`);
  await ask(
    `create temporary table gone as select blob_id ${files}; delete ${files};
     delete from active_storage_variant_records where blob_id in (select blob_id from gone);
     delete from active_storage_blobs where id in (select blob_id from gone)`,
  );
  await ask(`delete from attachments where message_id in (${messages})`);
  await ask(`delete from messages where conversation_id = ${String(id)}`);
  for (const { key } of keys) await rm(storagePath(installation.storageRoot, String(key)), { force: true });
  await protection.finish(reopen(repository));
  const search = ["moments", "--table", "conversations", "--deleted", "1", "--since", "-1d"];
  const found = (await desk.summary(search)) as unknown as MomentsSummary;
  const position = found.found.at(-1)?.before ?? "";
  const { host, port, user } = installation.database;
  let values = "";
  const shell = async (block: string) => {
    const text = block
      .replaceAll(/lsn:\S+/g, position)
      .replaceAll("4711", String(number))
      .replaceAll("account_id = 1 ", `account_id = ${String(account)} `)
      .replaceAll("8121", String(id))
      .replaceAll("--missing", "--missing --yes");
    const known = `set -e; chatkeep() { '${process.execPath}' '${CHATKEEP}' --config '${desk.config}' "$@"; }\n`;
    const result = await run("bash", ["-c", `${known}${values}${text}`], { cwd: desk.root, env: { COLUMNS: "200" } });
    assert.equal(result.status, 0, `${text}${result.stdout}${result.stderr}`);
    return result.stdout;
  };
  const [begin = "", which = "", take = "", put = "", end = ""] = await blocks();
  const begun = await shell(begin);
  const [, look = ""] = /psql '([^']+)'/.exec(begun) ?? [];
  const live = `postgresql://${user}@${host}:${port}/${database}`;
  values = `look='${look}'\nlive='${live}'\n`;
  assert.match(await shell(withoutNames(which)), new RegExp(`^ *${String(id)} \\|`, "m"));
  await shell(take);
  await shell(put);
  assert.deepEqual(await sums(), before);
  const server = /--stop (\S+)/.exec(begun)?.[1] ?? "";
  await shell(end.replace(/--stop \S+/, `--stop ${server}`));
  for (const { key } of keys) await readFile(storagePath(installation.storageRoot, String(key)));
  await onDatabase(installation, async (client) => await sendMessage(client, random));
});
