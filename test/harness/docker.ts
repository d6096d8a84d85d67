/**
 * A Docker Engine of a test's own: Debian's `docker.io`, installed where it is not yet and started by nobody, in a network of
 * its own that is gone with it. It takes root. No image can be pulled: they are made of folders.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { mustRun, run, type RunResult } from "./run.ts";
import { temporaryFolder } from "./temporary.ts";

const SET_UP = resolve(import.meta.dirname, "../../scripts/setup/as-root.mjs");
const DAEMON = "/usr/sbin/dockerd";

export interface Docker extends AsyncDisposable {
  /** For `DOCKER_HOST`. */
  host: string;
  /** Runs `docker` with this engine; a status other than 0 is an error. */
  docker(args: readonly string[], input?: string): Promise<RunResult>;
}

/** Ends the engine when its own input ends: also when the one who started it is killed. */
const KEEPER = `exec 3<&0
ip link set lo up
"$@" 3<&- </dev/null & server=$!
{ cat <&3 >/dev/null; kill -TERM $server; } 2>/dev/null &
wait $server`;

/** Starts an engine. @throws Error with what it said. */
export async function startDocker(): Promise<Docker> {
  if (process.getuid?.() !== 0) throw new Error("only root can start a Docker Engine");
  if (!existsSync(DAEMON)) await mustRun(process.execPath, [SET_UP, "docker.io", "iptables"]);
  const folder = await temporaryFolder();
  const host = `unix://${folder.at("docker.sock")}`;
  const args = [
    `--data-root=${folder.at("data")}`,
    `--exec-root=${folder.at("exec")}`,
    `--pidfile=${folder.at("pid")}`,
    `--host=${host}`,
    "--iptables=false",
  ];
  const daemon = spawn("unshare", ["--net", "--mount", "/bin/sh", "-c", KEEPER, "sh", DAEMON, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  let logged = "";
  for (const stream of [daemon.stdout, daemon.stderr]) stream.on("data", (text: Buffer) => (logged += text.toString()));
  const ended = once(daemon, "exit");
  const env = { DOCKER_HOST: host, DOCKER_CONFIG: folder.at("config"), DOCKER_BUILDKIT: "0" };
  const dispose = async () => {
    daemon.stdin.end();
    await ended;
    await folder[Symbol.asyncDispose]();
  };
  while ((await run("docker", ["info"], { env })).status !== 0) {
    if (daemon.exitCode !== null) {
      await dispose();
      throw new Error(`dockerd did not start:\n${logged}`);
    }
    await sleep(100);
  }
  return {
    host,
    async docker(command, input) {
      return await mustRun("docker", command, { env, ...(input === undefined ? {} : { input }) });
    },
    [Symbol.asyncDispose]: dispose,
  };
}

/** What the official image's entry does, in short: rights are dropped, a folder of data is made, and a password is wanted. */
const ENTRY = `#!/bin/sh
set -e
if [ "$1" = postgres ] && [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" && chown -R postgres "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -z "$POSTGRES_PASSWORD" ] && [ "$POSTGRES_HOST_AUTH_METHOD" != trust ]; then
    echo "Error: Database is uninitialized and superuser password is not specified." >&2
    exit 1
  fi
  initdb --username=postgres --auth=trust >/dev/null
fi
exec "$@"
`;

/** A database's image as the official one is: made of another Debian in a folder, which has the programs of a server. */
export async function makeDatabaseImage(
  engine: Docker,
  { folder, major, name }: { folder: string; major: number; name: string },
): Promise<void> {
  await using extra = await temporaryFolder();
  await writeFile(extra.at("docker-entrypoint.sh"), ENTRY, { mode: 0o755 });
  const changes = [
    'ENTRYPOINT ["/docker-entrypoint.sh"]',
    'CMD ["postgres"]',
    `ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/${major}/bin`,
    `ENV PG_MAJOR=${major}`,
    "ENV PGDATA=/var/lib/postgresql/data",
    "VOLUME /var/lib/postgresql/data",
    "EXPOSE 5432",
  ];
  const leftOut = ["./proc", "./sys", "./dev", "./var/cache", "./var/lib/apt", "./usr/share/doc", "./usr/share/locale"];
  const archive = extra.at("image.tar");
  const from = ["-C", folder, ".", "-C", extra.path, "./docker-entrypoint.sh"];
  await mustRun("tar", ["-cf", archive, ...leftOut.map((path) => `--exclude=${path}`), ...from]);
  await engine.docker(["import", ...changes.flatMap((change) => ["--change", change]), archive, name]);
}
