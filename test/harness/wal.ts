/** PostgreSQL's own way to a base and to the log: `pg_basebackup`, and `pg_receivewal` into a folder. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { serverUser, type TestServer } from "./postgres.ts";
import { mustRun } from "./run.ts";

function ownFolder(folder: string): { uid: number; gid: number } | undefined {
  mkdirSync(folder, { recursive: true });
  const user = serverUser();
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
  return user;
}

/**
 * Takes a base without any log, with its manifest beside the files.
 * @param programs where `pg_basebackup` is; by default the server's own.
 */
export async function takeBase(
  server: TestServer,
  folder: string,
  { programs = server.programs, args = [] }: { programs?: string; args?: readonly string[] } = {},
): Promise<void> {
  const user = ownFolder(folder);
  const { host, port, user: role } = server.address;
  const own = ["-D", folder, "-X", "none", "--checkpoint=fast", "--no-sync", "--manifest-checksums=SHA256", ...args];
  const from = ["-d", `host=${host} port=${port} user=${role}`];
  await mustRun(join(programs, "pg_basebackup"), [...own, ...from], { ...user, cwd: "/" });
}

export interface WalReceiver extends AsyncDisposable {
  /** Resolves when everything that was written until now is in the folder. */
  caughtUp(): Promise<void>;
  stop(): Promise<void>;
}

/** Receives the server's log into a folder until it is stopped. */
export async function receiveWal(
  server: TestServer,
  folder: string,
  { programs = server.programs }: { programs?: string } = {},
): Promise<WalReceiver> {
  const user = ownFolder(folder);
  const { host, port, user: role } = server.address;
  const args = ["-D", folder, "--synchronous", "--no-loop", "-d", `host=${host} port=${port} user=${role}`];
  const child = spawn(join(programs, "pg_receivewal"), args, {
    ...user,
    cwd: "/",
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (text: Buffer) => (said += text.toString()));
  const ended = once(child, "close");
  const until = async (condition: string) => {
    for (;;) {
      if (child.exitCode !== null) throw new Error(`pg_receivewal ended:\n${said}`);
      const [row] = await server.query(
        `select count(*)::int as n from pg_stat_replication where application_name = 'pg_receivewal' and ${condition}`,
      );
      if (row?.["n"] === 1) return;
      await sleep(20);
    }
  };
  const stop = async () => {
    if (child.exitCode === null) child.kill("SIGINT");
    await ended;
  };
  await until("state = 'streaming'");
  return {
    async caughtUp() {
      const [row] = await server.query("select pg_current_wal_insert_lsn()::text as lsn");
      // What was committed asynchronously is written within moments.
      await until(`flush_lsn >= '${String(row?.["lsn"])}'`);
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
