/**
 * A Docker Engine of a test's own: Debian's `docker.io`, installed where it is not yet and started by nobody, in a network of
 * its own that is gone with it. It takes root. No image can be pulled: they are made of folders.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, globSync } from "node:fs";
import { copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { installRedis, REDIS } from "./redis.ts";
import { mustRun, run, type RunResult } from "./run.ts";
import { temporaryFolder, type TestFolder } from "./temporary.ts";

const SET_UP = resolve(import.meta.dirname, "../../scripts/setup/as-root.mjs");
const DAEMON = "/usr/sbin/dockerd";

export interface Docker extends AsyncDisposable {
  /** For `DOCKER_HOST`. */
  host: string;
  /** Runs `docker` with this engine; a status other than 0 is an error. */
  docker(args: readonly string[], input?: string): Promise<RunResult>;
  /** Runs `docker compose` of version 2 in a folder; a status other than 0 is an error, unless it may fail. */
  compose(folder: string, args: readonly string[], options?: { mayFail: boolean }): Promise<RunResult>;
  /** Ends the engine and starts it again, as a machine that is restarted does: it starts what has a policy to. */
  restart(): Promise<void>;
  /** What to put before a program that is to see this engine's networks and published ports. */
  within: readonly string[];
}

/** Ends the engine when its own input ends: also when the one who started it is killed. As long as a file is there it is started again. */
const KEEPER = `exec 3<&0
pid=$1 again=$2
shift 2
ip link set lo up
{ cat <&3 >/dev/null; rm -f "$again"; kill -TERM $(cat "$pid"); } 2>/dev/null &
while :; do
  "$@" 3<&- </dev/null
  [ -e "$again" ] || exit
  rm "$again"
done`;

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
  const [pidFile, again] = [folder.at("pid"), folder.at("again")];
  const keeper = ["/bin/sh", "-c", KEEPER, "sh", pidFile, again];
  const daemon = spawn("unshare", ["--net", "--mount", ...keeper, DAEMON, ...args], {
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
  const answers = async () => {
    while ((await run("docker", ["info"], { env })).status !== 0) {
      if (daemon.exitCode !== null) {
        await dispose();
        throw new Error(`dockerd did not start:\n${logged}`);
      }
      await sleep(100);
    }
  };
  await answers();
  return {
    host,
    async docker(command, input) {
      return await mustRun("docker", command, { env, ...(input === undefined ? {} : { input }) });
    },
    async compose(directory, command, { mayFail } = { mayFail: false }) {
      return await (mayFail ? run : mustRun)(await composeProgram(), command, { env, cwd: directory });
    },
    async restart() {
      await writeFile(again, "");
      process.kill(Number(await readFile(pidFile, "utf8")), "SIGTERM");
      // The keeper takes the file away when the old one has ended.
      while (existsSync(again)) await sleep(100);
      await answers();
    },
    within: ["nsenter", `--net=/proc/${daemon.pid}/ns/net`],
    [Symbol.asyncDispose]: dispose,
  };
}

const COMPOSE = resolve(import.meta.dirname, "../../.cache/docker-compose");

/** Compose comes from Debian's `sid`: one file, which runs anywhere. */
export async function composeProgram(): Promise<string> {
  const [found] = globSync("usr/**/docker-compose", { cwd: COMPOSE, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  if (found !== undefined) return join(found.parentPath, found.name);
  await mustRun(process.execPath, [resolve(SET_UP, "../sid.mjs"), "docker-compose", COMPOSE]);
  return await composeProgram();
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
  umask 077
  printf '%s\n' "\${POSTGRES_PASSWORD:-none}" >/tmp/password
  initdb --username=postgres --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 >/dev/null
  rm /tmp/password
  echo "host all all all \${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
  echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
fi
exec "$@"
`;

/** Of another Debian in a folder, what no image needs. */
const LEFT_OUT = ["./proc", "./sys", "./dev", "./var/cache", "./var/lib/apt", "./usr/share/doc", "./usr/share/locale"];

export interface ImageParts {
  name: string;
  /** A folder of which everything is in it. */
  folder: string;
  /** Another one, with files that the first does not have. */
  extra?: string;
  /** Lines of a Dockerfile. */
  changes: readonly string[];
}

/** An image made of folders of this machine: none can be pulled. */
export async function makeImage(engine: Docker, { name, folder, extra, changes }: ImageParts): Promise<void> {
  await using work = await temporaryFolder();
  const archive = work.at("image.tar");
  const from = ["-C", folder, "."];
  // The engine takes no folder twice.
  if (extra !== undefined) {
    const entries = await readdir(extra, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => !entry.isDirectory());
    from.push("-C", extra, ...files.map((entry) => `./${relative(extra, join(entry.parentPath, entry.name))}`));
  }
  await mustRun("tar", ["-cf", archive, ...LEFT_OUT.map((path) => `--exclude=${path}`), ...from]);
  await engine.docker(["import", ...changes.flatMap((change) => ["--change", change]), archive, name]);
}

/** Puts this process's Node into a folder that an image is made of. Its libraries are in /usr/local/lib then. */
export async function addNode(folder: TestFolder): Promise<void> {
  for (const name of ["bin", "lib"]) await mkdir(folder.at(`usr/local/${name}`), { recursive: true });
  await copyFile(process.execPath, folder.at("usr/local/bin/node"));
  // The only library of Node's that a bare Debian lacks.
  const { stdout } = await mustRun("ldd", [process.execPath]);
  const [, atomic] = /=> (\S*libatomic\S*)/.exec(stdout) ?? [];
  if (atomic !== undefined) await copyFile(atomic, folder.at("usr/local/lib/libatomic.so.1"));
}

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
  await makeImage(engine, { name, folder, extra: extra.path, changes });
}

/** Redis as this machine has it, and the libraries that it needs; nothing else is in the image. */
export async function makeRedisImage(engine: Docker, name: string): Promise<void> {
  await installRedis();
  await using folder = await temporaryFolder();
  const { stdout } = await mustRun("ldd", [REDIS]);
  const libraries = [...stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path = ""]) => path);
  for (const path of [REDIS, ...libraries]) {
    await mkdir(dirname(folder.at(path.slice(1))), { recursive: true });
    // What a link leads to: the loader asks for the link's name.
    await copyFile(path, folder.at(path.slice(1)));
  }
  const changes = [`ENTRYPOINT ["${REDIS}", "--dir", "/data"]`, "WORKDIR /data", "VOLUME /data", "EXPOSE 6379"];
  await makeImage(engine, { name, folder: folder.path, changes });
}
