/** A real PostgreSQL server in a network of its own, as a container's is, where replication is let in from 127.0.0.1 alone. It takes root. */
import { chown, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { initialise, installedServers, SETTINGS, startKept, type TestAddress, untilReady } from "./postgres.ts";
import { SUPERUSER_PASSWORD } from "./cluster.ts";

export interface NetworkedServer extends AsyncDisposable {
  /** By its socket, which is seen from every network. */
  readonly bySocket: TestAddress;
  /** At 127.0.0.1 of its own network. */
  readonly inside: TestAddress;
  /** A process that has that network. */
  readonly pid: number;
}

const PORT = 5432;

/** Starts it; every connection but by the socket needs the password. @param more Lines of postgresql.conf. */
export async function startInOwnNetwork(more: readonly string[] = []): Promise<NetworkedServer> {
  const programs = installedServers()[0]?.programs;
  if (programs === undefined) throw new Error("PostgreSQL is not installed: run 'npm test', which installs it");
  const folder = await mkdtemp(join(tmpdir(), "chatkeep-pg-"));
  const { data, user } = await initialise(folder, programs, { auth: "scram" });
  if (user === undefined) throw new Error("only root can make a network for the server");
  const socketFolder = join(folder, "socket");
  await mkdir(socketFolder);
  await chown(socketFolder, user.uid, user.gid);
  const settings = [
    ...SETTINGS,
    ...more,
    "listen_addresses=*",
    `unix_socket_directories=${socketFolder}`,
    `port=${PORT}`,
  ];
  const server = [join(programs, "postgres"), "-D", data, ...settings.flatMap((setting) => ["-c", setting])];
  const begin = `ip link set lo up; exec setpriv --reuid=${user.uid} --regid=${user.gid} --clear-groups "$@"`;
  const { child, log } = startKept(["unshare", "--net", "sh", "-euc", begin, "sh", ...server], {
    folder,
    user: undefined,
  });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const dispose = async () => {
    child.stdin.end();
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  const account = { port: PORT, user: "postgres", database: "postgres", password: SUPERUSER_PASSWORD };
  const bySocket: TestAddress = { ...account, host: socketFolder };
  try {
    await untilSocket(child, bySocket, log);
    const pid = Number.parseInt(await readFile(join(data, "postmaster.pid"), "utf8"), 10);
    return { bySocket, inside: { ...account, host: "127.0.0.1" }, pid, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Its socket is not there at first. */
async function untilSocket(...[child, address, log]: Parameters<typeof untilReady>): Promise<void> {
  for (;;) {
    try {
      await untilReady(child, address, log);
      return;
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOENT") throw error;
    }
  }
}
