/**
 * A systemd of a test's own, as process 1 of namespaces of its own: this machine's files below a layer that is thrown away,
 * none of this machine's units but what every start needs, and the network of the machine. Nothing outside notices it.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { run, type RunResult } from "./run.ts";

/** The project, where the units of a test find it: neither below /tmp nor /home, which a service may have of its own. */
export const PROJECT = { from: resolve(import.meta.dirname, "../.."), to: "/opt/chatkeep" };

/** How Chatkeep is called inside. */
export const CHATKEEP = [`${PROJECT.to}/node_modules/node/bin/node`, `${PROJECT.to}/bin/chatkeep.js`] as const;

/** In a folder `NAME.timer.d`: half an hour by chance is for machines. For `printf`. */
export const AT_ONCE = "[Timer]\\nRandomizedDelaySec=0\\nAccuracySec=1s\\n";

/** Five minutes at most: a timer goes by the minute. */
export async function untilThere(path: string): Promise<void> {
  for (let turn = 0; turn < 300 && !existsSync(path); turn += 1) await new Promise((done) => setTimeout(done, 1000));
}

export interface TestSystemd extends AsyncDisposable {
  /** Runs a program inside. */
  run(program: string, args: readonly string[]): Promise<RunResult>;
}

/** $1: the folder of the machine's cgroups, the rest: folder outside, folder inside, … */
const BOOT = String.raw`
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
root=/mnt/root
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
umount "$root/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for place in run etc/systemd/system var/lib/systemd var/log; do mount -t tmpfs -o mode=755 tmpfs "$root/$place"; done
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s /dev/null "$root/etc/systemd/system/tmp.mount"
printf '[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\nAllowIsolate=yes\n' > "$root/etc/systemd/system/tested.target"
while [ $# -gt 0 ]; do
  mkdir -p "$root$2"
  mount --bind "$1" "$root$2"
  shift 2
done
exec env -i container=chatkeep-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  chroot "$root" /lib/systemd/systemd --system --unit=tested.target --log-target=journal --show-status=no
`;

/**
 * @param places folders of this machine, and where they are to be seen inside.
 * @throws Error that says what is lacking: it takes root, systemd's program, and cgroups of version 2.
 */
export async function startSystemd(places: readonly { from: string; to: string }[]): Promise<TestSystemd> {
  if (process.getuid?.() !== 0) throw new Error("only root can start a systemd of its own");
  if (!existsSync("/lib/systemd/systemd")) throw new Error("systemd is not installed (Debian: the package 'systemd')");
  const group = join(await cgroupFolder(), `chatkeep-test-${process.pid}`);
  await mkdir(group);
  const names = ["--mount", "--pid", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child"];
  const bound = places.flatMap(({ from, to }) => [from, to]);
  const inGroup = `echo $$ > '${group}/cgroup.procs' && exec unshare ${names.join(" ")} sh -eu -c "$@"`;
  const child = spawn("sh", ["-c", inGroup, "sh", BOOT, "sh", ...bound], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (data: Buffer) => (said += data.toString("utf8")));
  const closed = new Promise<void>((resolve) => child.on("close", () => resolve()));
  const inside = async (program: string, args: readonly string[]) => {
    const init = (await run("pgrep", ["-P", String(child.pid)])).stdout.trim();
    const enter = ["--target", init, "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--root", "--wd"];
    return await run("nsenter", [...enter, program, ...args]);
  };
  const stop = async () => {
    child.kill("SIGKILL");
    await closed;
    await removeGroup(group);
  };
  try {
    for (let turn = 0; ; turn += 1) {
      if (child.exitCode !== null) throw new Error(`systemd ended:\n${said}`);
      const { stdout } = await inside("systemctl", ["is-system-running"]);
      if (/^(running|degraded)$/m.test(stdout)) break;
      if (turn > 300) throw new Error(`systemd does not start:\n${stdout}${said}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    return { run: inside, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Where cgroups of version 2 are mounted. */
async function cgroupFolder(): Promise<string> {
  const mounts = await readFile("/proc/self/mounts", "utf8");
  const found = /^\S+ (\S+) cgroup2 /m.exec(mounts)?.[1];
  if (found === undefined) throw new Error("no cgroups of version 2 are mounted here, so systemd cannot start");
  return found;
}

/** Empty as soon as the last process is gone; the groups that systemd made lie in it. */
async function removeGroup(group: string): Promise<void> {
  await writeFile(join(group, "cgroup.kill"), "1").catch(() => {});
  for (let turn = 0; turn < 50; turn += 1) {
    await run("find", [group, "-mindepth", "1", "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
    const isGone = await rmdir(group).then(
      () => true,
      () => false,
    );
    if (isGone) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`the cgroup '${group}' cannot be removed`);
}
