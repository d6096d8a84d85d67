/** A desk with a web process that can be stopped and started, and with upgrades that go well or wrong. */
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { onDatabase } from "../../src/demo/database.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import { startRedis } from "../harness/redis.ts";
import { parseAppVersion } from "../../src/chatwoot/versions.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";

export const BEFORE = "4.15.1";
export const AFTER = "4.99.0";
export const MIGRATION = "20990101000000";

export interface GuardDesk extends AsyncDisposable {
  readonly desk: Desk;
  readonly state: string;
  /** While it is there, the web process answers nothing but errors. */
  readonly down: string;
  /** A program that does what the lines of shell say; `sql STATEMENT` asks the live database. */
  upgrade(name: string, lines: readonly string[]): Promise<string>;
  onLive<T>(sql: string): Promise<T[]>;
  /** Of the code. */
  version(): Promise<string | undefined>;
  /** What an upgrade changes of the desk. */
  stands(): Promise<Record<string, unknown>>;
  /** What the web process says that it is; undefined: as the code. */
  answersAs(version: string | undefined): void;
}

/** What a whole upgrade does: new code, a migration of it, and the web process anew. */
export const GOES_WELL = [
  `sql "insert into schema_migrations (version) values ('${MIGRATION}')"`,
  `sql "alter table accounts add column of_the_upgrade text"`,
  `sed -i "s/${BEFORE}/${AFTER}/" config/app.yml`,
  `echo "ActiveRecord::Schema[7.1].define(version: 2099_01_01_000000) do" > db/schema.rb`,
];

/** What an upgrade does that fails: to rows, to code that was changed here, and to the key of everything. */
export const GOES_WRONG = [
  `sql "delete from messages where id % 2 = 1"`,
  `echo "broken = true" >> app/models/inbox.rb`,
  "rm lib/acme/opening_hours.rb",
  `sed -i "s/^SECRET_KEY_BASE=.*/SECRET_KEY_BASE=0123456789abcdef0123456789abcdef/" .env`,
  "exit 5",
];

/** @param messages More than a live desk may lose unnoticed, where it is to lose some. */
export async function openGuardDesk({ messages = 150 }: { messages?: number } = {}): Promise<GuardDesk> {
  const size = { messages, conversations: 20, files: 6 };
  const desk = await openDesk({ size, isCheckout: true });
  const { codeRoot, database, envFile, environment } = desk.installation;
  const password = environment.get("REDIS_PASSWORD") ?? "";
  const redis = await startRedis(password === "" ? {} : { password });
  const env = await readFile(envFile, "utf8");
  await writeFile(envFile, env.replace(/^REDIS_URL=.*/m, `REDIS_URL=${redis.url}`));
  const down = join(desk.root, "down");
  const asked = async () => {
    return await onDatabase(database, async (client) => await client.query("select count(*) from accounts")).then(
      () => "ok",
      () => "failing",
    );
  };
  const version = async () => parseAppVersion(await readFile(join(codeRoot, "config/app.yml"), "utf8"));
  let said: string | undefined;
  const server = createServer((request, response) => {
    void (async () => {
      const isDown = existsSync(down);
      const answer =
        request.url === "/api"
          ? { version: said ?? (await version()), queue_services: "ok", data_services: await asked() }
          : { status: "woot" };
      response.writeHead(isDown ? 500 : 200, { "content-type": "application/json" });
      response.end(JSON.stringify(answer));
    })();
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await makeCheapToOpen(desk);
  const state = join(desk.root, "state");
  const plain = await readFile(desk.config, "utf8");
  const own = `  health: ${url}\n  stop: { web: "touch ${down}", worker: "true" }\n  start: { web: "rm -f ${down}", worker: "true" }\n`;
  await writeFile(desk.config, `${plain.replace("repositories:", `${own}repositories:`)}\nstate-dir: ${state}\n`);
  await mkdir(join(codeRoot, "db"));
  await writeFile(join(codeRoot, "db/schema.rb"), "# its version is not said: this one tells nothing\n");
  return {
    desk,
    state,
    down,
    version,
    async stands() {
      return {
        database: await dumpLines(database, { programs: desk.server.programs }),
        version: await version(),
        edited: await readFile(join(codeRoot, "app/models/inbox.rb"), "utf8"),
        untracked: await readFile(join(codeRoot, "lib/acme/opening_hours.rb"), "utf8").catch(() => undefined),
        schema: await readFile(join(codeRoot, "db/schema.rb"), "utf8"),
        env: await readFile(envFile, "utf8"),
      };
    },
    answersAs(version) {
      said = version;
    },
    async upgrade(name, lines) {
      const path = join(desk.root, name);
      const { host, port, user, password = "" } = database;
      const psql = `PGPASSWORD='${password}' '${join(desk.server.programs, "psql")}' -q -h ${host} -p ${port} -U ${user}`;
      const sql = `sql() { ${psql} -v ON_ERROR_STOP=1 -c "$1" ${database.database}; }`;
      const text = ["#!/bin/sh", "set -e", `cd '${codeRoot}'`, sql, ...lines, ""].join("\n");
      await writeFile(path, text, { mode: 0o700 });
      return path;
    },
    onLive: async <T>(sql: string) =>
      await onDatabase(database, async (client) => (await client.query(sql)).rows as T[]),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await redis.stop();
      await desk[Symbol.asyncDispose]();
    },
  };
}
