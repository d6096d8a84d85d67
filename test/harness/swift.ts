/**
 * OpenStack Swift with its S3 API, for tests: an object store that providers run, from Debian 12 in a folder below `.cache`
 * (made once: about two minutes, 500 MB). One proxy and the three servers behind it, on loopback, their disk a folder that goes
 * with them.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { S3Client } from "@aws-sdk/client-s3";
import { installDebian } from "./debian-folder.ts";
import { isListening } from "./listening.ts";
import { freePort } from "./postgres.ts";
import { mustRun } from "./run.ts";

const ROOT = resolve(import.meta.dirname, "../../.cache/swift");
const KINDS = ["object", "container", "account"] as const;

/** Each ends when its input does, so it never outlives the test that started it. */
const SERVER = `
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.buffer.raw.read(1), os._exit(0)), daemon=True).start()
from swift.common.wsgi import run_wsgi
sys.exit(run_wsgi(sys.argv[1], sys.argv[2]))
`;

/** Swift names files by way of /proc, and loses what it is sent where there is none: here it is mounted for the one process. */
const IN_ROOT = 'mount -t proc proc "$1/proc" && exec chroot "$@"';

export interface TestSwift extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`. */
  readonly endpoint: string;
  /** Credentials, as environment variables. */
  readonly env: Readonly<Record<string, string>>;
  /** Those of another user, who may do nothing to what the first one has. */
  readonly otherEnv: Readonly<Record<string, string>>;
  /** The official client. */
  readonly client: S3Client;
  /** A location as restic and Chatkeep take it. The bucket need not exist: `init` makes it. */
  location(bucket: string, prefix?: string): string;
}

/** @throws Error that says what is lacking: it takes root, Debian and its packages. */
export async function startSwift(): Promise<TestSwift> {
  await installDebian({
    folder: ROOT,
    suite: "bookworm",
    packages: ["swift-proxy", "swift-account", "swift-container", "swift-object"],
    proof: "usr/bin/swift-proxy-server",
  });
  await mkdir(join(ROOT, "srv"), { recursive: true });
  const outside = await mkdtemp(join(ROOT, "srv", "swift-"));
  const inside = join("/srv", basename(outside));
  const children: ChildProcess[] = [];
  const stop = async () => {
    for (const child of children) await end(child);
    await rm(outside, { recursive: true, force: true, maxRetries: 3 });
  };
  try {
    const ports = await configure(outside, inside);
    const starting = ([...KINDS, "proxy"] as const).map(async (kind) => {
      const conf = `${inside}/${kind}-server.conf`;
      const program = [ROOT, "/usr/bin/python3", "-c", SERVER, conf, `${kind}-server`];
      const child = spawn("unshare", ["--mount", "/bin/sh", "-c", IN_ROOT, "sh", ...program], {
        stdio: ["pipe", "ignore", "ignore"],
      });
      children.push(child);
      await untilListening(child, ports[kind], `swift-${kind}-server`);
    });
    await Promise.all(starting);
    const endpoint = `http://127.0.0.1:${ports.proxy}`;
    const credentials = { accessKeyId: "desk:owner", secretAccessKey: "secret" };
    const client = new S3Client({ endpoint, region: "us-east-1", forcePathStyle: true, credentials });
    return {
      endpoint,
      env: { AWS_ACCESS_KEY_ID: "desk:owner", AWS_SECRET_ACCESS_KEY: "secret" },
      otherEnv: { AWS_ACCESS_KEY_ID: "desk:other", AWS_SECRET_ACCESS_KEY: "other" },
      client,
      location: (bucket, prefix) => `s3:${endpoint}/${bucket}${prefix === undefined ? "" : `/${prefix}`}`,
      async [Symbol.asyncDispose]() {
        client.destroy();
        await stop();
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.stdin?.end();
  await exited;
}

async function untilListening(child: ChildProcess, port: number, what: string): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) {
    if (await isListening(port)) return;
    await sleep(50);
  }
  throw new Error(`${what} did not start: see ${ROOT}`);
}

type Ports = Readonly<Record<"proxy" | (typeof KINDS)[number], number>>;

/** Writes everything that the servers read; one disk, one copy of each object. */
async function configure(outside: string, inside: string): Promise<Ports> {
  const ports = {
    proxy: await freePort(),
    object: await freePort(),
    container: await freePort(),
    account: await freePort(),
  };
  await mkdir(join(outside, "node", "disk"), { recursive: true });
  await mkdir(join(outside, "run"));
  const common = (port: number) => `[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${port}
workers = 0
user = root
swift_dir = ${inside}
log_level = ERROR
`;
  await writeFile(
    join(outside, "swift.conf"),
    "[swift-hash]\nswift_hash_path_suffix = test\nswift_hash_path_prefix = test\n[storage-policy:0]\nname = only\ndefault = yes\n",
  );
  const rings: string[] = [];
  for (const kind of KINDS) {
    const storage = `devices = ${inside}/node\nmount_check = false\ndisable_fallocate = true\n`;
    const text = `${common(ports[kind])}${storage}[pipeline:main]\npipeline = ${kind}-server\n[app:${kind}-server]\nuse = egg:swift#${kind}\n`;
    await writeFile(join(outside, `${kind}-server.conf`), text);
    const builder = `${inside}/${kind}.builder`;
    rings.push(
      `${builder} create 4 1 1`,
      `${builder} add r1z1-127.0.0.1:${ports[kind]}/disk 1`,
      `${builder} rebalance`,
    );
  }
  const script = rings.map((line) => `swift-ring-builder ${line}`).join(" && ");
  await mustRun("chroot", [ROOT, "/bin/sh", "-c", script], { env: { LC_ALL: "C" } });
  await writeFile(
    join(outside, "proxy-server.conf"),
    `${common(ports.proxy)}[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats s3api tempauth copy slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
# A machine with other work is slow, and no reason to leave a server out.
conn_timeout = 10
node_timeout = 60
error_suppression_limit = 1000
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
# Nobody is there; it goes on without, and the S3 API wants the filter.
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
dns_compliant_bucket_names = true
[filter:tempauth]
use = egg:swift#tempauth
user_desk_owner = secret .admin
user_desk_other = other
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
`,
  );
  return ports;
}
