/** A real PgBouncer in front of a test server, ended by its process id. */
import { chownSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, serverUser, startKept, type TestAddress, untilReady } from "./postgres.ts";

export interface PgbouncerOptions {
  mode: "session" | "transaction" | "statement";
  /** Who may connect, each with the server's password where it has one. */
  users: readonly { name: string; password?: string }[];
  /** Lines of its configuration, as `name = value`. */
  settings?: readonly string[];
}

export interface TestPgbouncer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** What it logged so far. */
  log(): string;
}

/** Starts one that leads to every database of the server. */
export async function startPgbouncer(server: TestAddress, options: PgbouncerOptions): Promise<TestPgbouncer> {
  const folder = await mkdtemp(join(tmpdir(), "chatkeep-pgbouncer-"));
  const port = await freePort();
  const host = "127.0.0.1";
  const users = options.users.map(({ name, password = "" }) => `"${name}" "${password}"\n`).join("");
  const settings = [
    "[databases]",
    `* = host=${server.host} port=${server.port}`,
    "[pgbouncer]",
    `listen_addr = ${host}`,
    `listen_port = ${port}`,
    "unix_socket_dir =",
    `auth_type = ${options.users.some(({ password }) => password !== undefined) ? "scram-sha-256" : "trust"}`,
    `auth_file = ${join(folder, "users")}`,
    `pool_mode = ${options.mode}`,
    ...(options.settings ?? []),
  ];
  await writeFile(join(folder, "users"), users);
  await writeFile(join(folder, "pgbouncer.ini"), `${settings.join("\n")}\n`);
  const user = serverUser();
  if (user !== undefined) {
    for (const name of ["", "users", "pgbouncer.ini"]) chownSync(join(folder, name), user.uid, user.gid);
  }
  const { child, log } = startKept(["/usr/sbin/pgbouncer", join(folder, "pgbouncer.ini")], { folder, user });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const stop = async () => {
    child.stdin.end();
    await ended;
  };
  const [first] = options.users;
  try {
    await untilReady(
      child,
      { host, port, user: first?.name ?? "", password: first?.password, database: server.database },
      log,
    );
  } catch (error) {
    await stop();
    throw error;
  }
  return { host, port, log, [Symbol.asyncDispose]: stop };
}
