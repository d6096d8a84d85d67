/** What can be wrong before a run begins: each is refused in one line with one hint, and nothing is changed. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmod, copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { parse, stringify } from "yaml";
import { systemClock } from "../../src/base/clock.ts";
import { parseFileId } from "../../src/base/ids.ts";
import { seal } from "../../src/format/crypto.ts";
import { lockExclusive } from "../../src/repo/lock.ts";
import { CHATKEEP, callCli } from "../harness/cli.ts";
import { cannotMount, IS_ROOT, runBoundByModes, runWithMounts } from "../harness/namespace.ts";
import { runRestic } from "../harness/restic.ts";
import type { RunOptions, RunResult } from "../harness/run.ts";
import { readFolder } from "../harness/tree.ts";
import { makeCheapToOpen, type OpenedDesk } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { assertRefused, type Refusal, secretsOf } from "./refusal.ts";

const TINY = { messages: 120, conversations: 20, files: 10 };
const WRONG = "canary-wrong-password";
const { signal } = new AbortController();

let desk: Desk;
let opened: OpenedDesk;
let secrets: string[];

before(async () => {
  desk = await openDesk({ isCheckout: true, size: TINY, server: { auth: "scram" } });
  opened = await makeCheapToOpen(desk);
  secrets = [...(await secretsOf(desk)), WRONG];
  await desk.summary(["backup"]);
});

after(async () => await desk[Symbol.asyncDispose]());

interface Settings {
  installation: Record<string, unknown>;
  repositories: Record<string, unknown>[];
}

let variants = 0;

/** The desk's configuration with a change, in a file of its own. */
async function variant(change: (settings: Settings) => void): Promise<string> {
  const settings = parse(await readFile(desk.config, "utf8")) as Settings;
  change(settings);
  return await written(stringify(settings));
}

async function written(text: string): Promise<string> {
  variants += 1;
  const path = join(desk.root, `variant-${variants}.yaml`);
  await writeFile(path, text);
  return path;
}

async function withConfig(config: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return await callCli(["--config", config, ...args], { cwd: desk.root, ...options });
}

/** Backs up from another database than the application's. */
async function backupFrom(url: string): Promise<RunResult> {
  return await withConfig(await variant(({ installation }) => (installation["database-url"] = url)), ["backup"]);
}

async function backupTo(location: string): Promise<RunResult> {
  return await withConfig(await variant(({ repositories }) => (repositories[0] = { ...repositories[0], location })), [
    "backup",
  ]);
}

interface UrlParts {
  user?: string;
  password?: string;
  port?: number;
  database?: string;
}

function urlOf(parts: UrlParts = {}): string {
  const { host, ...own } = desk.installation.database;
  const { user, password, port, database } = { ...own, ...parts };
  return `postgresql://${user}:${password}@${host}:${port}/${database}`;
}

function refused(name: string, expected: Refusal, act: (t: TestContext) => Promise<RunResult | undefined>): void {
  test(name, async (t) => {
    const repository = await readFolder(desk.repository, { folders: true });
    const result = await act(t);
    if (result === undefined) return;
    assertRefused(result, expected, secrets);
    assert.deepEqual(await readFolder(desk.repository, { folders: true }), repository, "the repository was changed");
  });
}

refused("no configuration", { status: 2, error: /no configuration file '.*none\.yaml'/, hint: /chatkeep init/ }, () =>
  withConfig("none.yaml", ["backup"]),
);

refused("bad YAML, with its line and column", { status: 2, error: /variant-\d+\.yaml:3:3: / }, async () =>
  withConfig(await written("installation:\n  name: desk\n  name: twice\n"), ["backup"]),
);

refused(
  "an unknown key, with its line and column",
  { status: 2, error: /\.yaml:2:3: unknown key 'nmae' in 'installation'/ },
  async () =>
    withConfig(await variant((settings) => (settings.installation = { nmae: "desk", ...settings.installation })), [
      "list",
    ]),
);

refused("a wrong password", { status: 12, error: /does not open the repository/ }, async () => {
  const file = await written(WRONG);
  return await withConfig(
    await variant(({ repositories }) => (repositories[0] = { ...repositories[0], "password-file": file })),
    ["list"],
  );
});

refused(
  "a command for the password that fails",
  { status: 1, error: /the command for the password of repository 'primary' failed/, hint: /no key today/ },
  async () => {
    const asking = { "password-file": undefined, "password-command": "echo 'no key today' >&2; exit 3" };
    return await withConfig(
      await variant(({ repositories }) => (repositories[0] = { ...repositories[0], ...asking })),
      ["list"],
    );
  },
);

refused("no repository", { status: 10, error: /there is no repository in/, hint: /chatkeep init/ }, async () =>
  backupTo(join(desk.root, "nothing")),
);

refused(
  "a repository of restic's format version 1",
  { status: 1, error: /format version 1/, hint: /upgrade_repo_v2/ },
  async () => {
    const repo = join(desk.root, "version-1");
    await runRestic(["init", "--repository-version", "1"], { repo, password: opened.password });
    return await backupTo(repo);
  },
);

refused("a repository of a format version to come", { status: 1, error: /format version 3/ }, async () => {
  const repo = join(desk.root, "version-3");
  await mkdir(join(repo, "keys"), { recursive: true });
  for (const key of await readdir(join(desk.repository, "keys")))
    await copyFile(join(desk.repository, "keys", key), join(repo, "keys", key));
  const { keys, config } = opened.repository;
  await writeFile(join(repo, "config"), seal(keys, Buffer.from(JSON.stringify({ ...config, version: 3 }))));
  return await backupTo(repo);
});

for (const args of [["backup"], ["drill"], ["restore", "latest", "--to", "locked-out", "--yes"]]) {
  refused(
    `${args[0]} while somebody holds the repository alone`,
    { status: 11, error: /is locked for itself alone by process \d+ of/, hint: /Wait until it is done/ },
    async () => {
      await using _lock = await lockExclusive(opened.repository, {
        clock: systemClock,
        signal,
        hostname: hostname(),
        pid: process.pid,
      });
      return await desk.chatkeep(args);
    },
  );
}

refused("a server that is down", { status: 1, error: /no PostgreSQL server answers \(/ }, () =>
  backupFrom(urlOf({ port: 1 })),
);

refused("a wrong database password", { status: 1, error: /refuses the password of 'chatwoot'/ }, () =>
  backupFrom(urlOf({ password: WRONG })),
);

refused("a database that does not exist", { status: 1, error: /database 'nowhere' does not exist/ }, () =>
  backupFrom(urlOf({ database: "nowhere" })),
);

refused(
  "a role that may not read one table, which is named",
  {
    status: 1,
    error: /'reader' may not read table public\.messages/,
    hint: /GRANT SELECT ON "?public"?\."?messages"?/,
  },
  async () => {
    const grants = [
      `create role reader login password '${WRONG}'`,
      "grant select on all tables in schema public to reader",
      "grant select on all sequences in schema public to reader",
      "revoke select on messages from reader",
    ];
    await desk.server.query(grants.join(";"), "chatwoot_production");
    return await backupFrom(urlOf({ user: "reader", password: WRONG }));
  },
);

refused(
  "the empty database 'chatwoot' beside a full 'chatwoot_production'",
  { status: 1, error: /database 'chatwoot' holds no tables/, hint: /'chatwoot_production'/ },
  async () => {
    await desk.server.createDatabase("chatwoot");
    return await backupFrom(urlOf({ database: "chatwoot" }));
  },
);

refused(
  "a database that is no Chatwoot's",
  { status: 1, error: /database 'shop' is not a Chatwoot's: .*'active_storage_blobs'/ },
  async () => {
    await desk.server.createDatabase("shop");
    await desk.server.query("create table messages (id bigint primary key)", "shop");
    return await backupFrom(urlOf({ database: "shop" }));
  },
);

refused(
  "a pg_dump that is older than the server",
  { status: 1, error: /newest pg_dump here is of PostgreSQL 9, too old for/, hint: /postgresql-client-\d+/ },
  async (t) => {
    const why = await cannotMount();
    if (why !== undefined) {
      t.skip(why);
      return undefined;
    }
    const bin = join(desk.root, "old-bin");
    await mkdir(bin);
    for (const name of ["pg_dump", "pg_restore", "psql"]) {
      await writeFile(join(bin, name), `#!/bin/sh\necho "${name} (PostgreSQL) 9.6.24"\n`);
      await chmod(join(bin, name), 0o755);
    }
    // A machine on which only the old programs are installed.
    const script = 'mount -t tmpfs tmpfs /usr/lib/postgresql; exec "$@"';
    return await runWithMounts(script, [process.execPath, CHATKEEP, "--config", desk.config, "backup"], {
      env: { PATH: `${bin}:/usr/bin:/bin`, NO_COLOR: "1" },
    });
  },
);

refused("an environment file that may not be read", { status: 1, error: /cannot read the environment/ }, async () => {
  await chmod(desk.installation.envFile, 0o000);
  try {
    return await runBoundByModes(process.execPath, [CHATKEEP, "--config", desk.config, "backup"]);
  } finally {
    await chmod(desk.installation.envFile, 0o600);
  }
});

refused("a repository that may not be read", { status: 20, error: /not allowed: listing '.*snapshots'/ }, async () => {
  const folder = join(desk.repository, "snapshots");
  await chmod(folder, 0o000);
  try {
    return await runBoundByModes(process.execPath, [CHATKEEP, "--config", desk.config, "list"]);
  } finally {
    await chmod(folder, 0o700);
  }
});

refused("a restore point that does not exist", { status: 1, error: /there is no restore point 'deadbeef'/ }, () =>
  desk.chatkeep(["show", "deadbeef"]),
);

refused(
  "a beginning that several restore points share",
  { status: 2, error: /'[0-9a-f]{4}' begins the names of 2 restore points/, hint: /Give more digits: / },
  async () => {
    const { repository } = opened;
    const { snapshots } = await repository.listSnapshots({ signal });
    const json = await repository.getUnpacked("snapshots", parseFileId(snapshots[0]?.id ?? ""), { signal });
    // Sealed again and again the same snapshot gets other names, until two begin alike.
    const byPrefix = new Map<string, { name: string; bytes: Buffer }>();
    for (;;) {
      const bytes = seal(repository.keys, Buffer.from(json));
      const name = createHash("sha256").update(bytes).digest("hex");
      const prefix = name.slice(0, 4);
      const twin = byPrefix.get(prefix);
      byPrefix.set(prefix, { name, bytes });
      if (twin === undefined || snapshots.some(({ id }) => id.startsWith(prefix))) continue;
      const paths = [twin.name, name].map((file) => join(desk.repository, "snapshots", file));
      await writeFile(paths[0] ?? "", twin.bytes);
      await writeFile(paths[1] ?? "", bytes);
      const result = await desk.chatkeep(["show", prefix]);
      for (const path of paths) await rm(path);
      return result;
    }
  },
);

refused("a target database that is not empty", { status: 1, error: /database 'full' is not empty/ }, async () => {
  await desk.server.createDatabase("full");
  await desk.server.query("create table kept (id int); insert into kept values (1)", "full");
  const args = ["restore", "latest", "--database-url", urlOf({ database: "full" }), "--to", "not-made", "--yes"];
  const result = await desk.chatkeep(args);
  const tables = await desk.server.query(
    "select relname from pg_class where relnamespace = 'public'::regnamespace",
    "full",
  );
  assert.deepEqual(tables, [{ relname: "kept" }]);
  await assert.rejects(readdir(join(desk.root, "not-made")), /ENOENT/);
  return result;
});

refused("a target folder that is not empty", { status: 1, error: /folder '.*taken' is not empty/ }, async () => {
  const taken = join(desk.root, "taken");
  await mkdir(taken);
  await writeFile(join(taken, "kept"), "kept");
  const url = urlOf({ database: "not_made" });
  const result = await desk.chatkeep(["restore", "latest", "--to", taken, "--database-url", url, "--yes"]);
  assert.deepEqual(await readdir(taken), ["kept"]);
  assert.deepEqual(await desk.server.query("select 1 from pg_database where datname = 'not_made'"), []);
  return result;
});

test("with --json the refusal is the last line of stdout, with its code", async () => {
  const result = await desk.chatkeep(["--json", "show", "deadbeef"]);
  const last = JSON.parse(result.stdout.trim().split("\n").at(-1) ?? "") as Record<string, unknown>;
  assert.deepEqual([last["type"], last["code"], last["exit"]], ["error", "point/not-found", 1]);
});

/** Runs `init` beside the desk and makes sure that it left nothing behind. */
async function initRefused(
  t: TestContext,
  args: readonly string[],
  expected: Refusal,
  options: { isBound?: boolean } = {},
) {
  const folder = join(desk.root, `init-${variants++}`);
  await mkdir(folder);
  t.after(async () => await rm(folder, { recursive: true }));
  if (options.isBound === true) await chmod(folder, 0o500);
  const location = join(desk.root, "not-made-by-init");
  const argv = [CHATKEEP, "init", "--yes", "--config", join(folder, "chatkeep.yaml"), "--location", location, ...args];
  const result = await runBoundByModes(process.execPath, argv, { cwd: desk.root, env: { NO_COLOR: "1" } });
  assertRefused(result, expected, secrets);
  assert.deepEqual(await readdir(folder), []);
  await assert.rejects(readdir(location), /ENOENT/);
}

test("init refuses a folder that holds no Chatwoot, and writes nothing", async (t) => {
  const empty = join(desk.root, "empty");
  await mkdir(empty);
  await initRefused(t, ["--root", empty], { status: 2, error: /there is no Chatwoot in .*\/empty:/ });
});

test("init refuses when its configuration cannot be written, and makes no repository", async (t) => {
  if (!IS_ROOT) t.diagnostic("as this user, whom modes bind anyway");
  const expected = { status: 2, error: /cannot write '.*chatkeep\.yaml'/, hint: /name another place/ };
  await initRefused(t, ["--root", desk.installation.codeRoot], expected, { isBound: true });
});

test("init refuses a repository of another password, and leaves no password behind", async (t) => {
  await initRefused(t, ["--root", desk.installation.codeRoot, "--location", desk.repository], {
    status: 1,
    error: /already, with another password/,
    hint: /init --from/,
  });
});
