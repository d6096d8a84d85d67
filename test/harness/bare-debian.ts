/**
 * Programs run on a Debian to which nothing was added, or PostgreSQL alone: in a folder below `.cache`, made once (about three
 * minutes and 800 MB a release), that is only read. What a program writes is gone when it ends, but for what it writes to /tmp, which
 * is this machine's, as its network is.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { installDebian } from "./debian-folder.ts";
import { runWithMounts } from "./namespace.ts";
import type { RunResult } from "./run.ts";

const CACHE = resolve(import.meta.dirname, "../../.cache");

export interface BareDebian {
  /** Runs a program there as root, with no environment but this. */
  run(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<RunResult>;
}

/** What is written goes to memory; what is bound is seen in its place. */
const SCRIPT = `
root=$1 file=$2 place=$3; shift 3
mount -t tmpfs tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$place/upper,workdir=$place/work" "$place/root"
touch "$place/root/usr/local/bin/chatkeep"
mount --bind "$file" "$place/root/usr/local/bin/chatkeep"
mount --bind /tmp "$place/root/tmp"
mount --bind /dev "$place/root/dev"
mount -t proc proc "$place/root/proc"
cp /etc/hosts "$place/root/etc/hosts"
exec chroot "$place/root" "$@"`;

/**
 * @param options.suite Debian's name of the release.
 * @param options.packages What is added to it; none: it is bare.
 * @param options.executable Seen there as /usr/local/bin/chatkeep.
 * @param options.place An empty folder below /tmp.
 * @throws Error that says what is lacking: it takes root, Debian and its packages.
 */
export async function bareDebian(options: {
  suite: string;
  packages?: readonly string[];
  executable: string;
  place: string;
}): Promise<BareDebian> {
  const { suite, packages = [], executable, place } = options;
  const bare = join(CACHE, `${suite}-bare`);
  await installDebian({ folder: bare, suite, packages: [], proof: "etc/debian_version" });
  const folder = packages.length === 0 ? bare : join(CACHE, `${suite}-added`);
  if (folder !== bare) {
    await installDebian({
      folder,
      suite,
      from: bare,
      packages,
      proof: "usr/bin/pg_dump",
      async prepare(made) {
        await mkdir(join(made, "etc/postgresql-common"), { recursive: true });
        await writeFile(join(made, "etc/postgresql-common/createcluster.conf"), "create_main_cluster = false\n");
      },
    });
  }
  await mkdir(place, { recursive: true });
  const always = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root" };
  return {
    async run(args, env = {}) {
      const all = Object.entries({ ...always, ...env }).map(([name, value]) => `${name}=${value}`);
      return await runWithMounts(SCRIPT, [folder, executable, place, "env", "-i", ...all, ...args]);
    },
  };
}
