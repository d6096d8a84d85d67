/** Another release of Debian in a folder, for programs that this machine's own release does not have. It takes root. */
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { mustRun } from "./run.ts";

/** A clean environment: the programs of the folder are not ours to configure. */
const NON_INTERACTIVE = { DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C", LANG: "C" };

export interface DebianFolder {
  /** Where it is to lie. */
  readonly folder: string;
  /** `trixie`, `sid`. */
  readonly suite: string;
  readonly packages: readonly string[];
  /** A folder that was made before, of the same release: it is copied, and not fetched again. */
  readonly from?: string;
  /** A file in it that shows that it is whole. */
  readonly proof: string;
  /** What must be there before the packages come. */
  prepare?: (folder: string) => Promise<void>;
}

/**
 * Installs it where it is not yet: beside its place, and moved there when it is whole.
 * @throws Error that says what is lacking: it takes root, Debian and its packages.
 */
export async function installDebian(wanted: DebianFolder): Promise<void> {
  const { folder, suite, packages, proof, prepare } = wanted;
  if (existsSync(join(folder, proof))) return;
  if (process.getuid?.() !== 0) throw new Error(`only root can install Debian's ${suite} into a folder`);
  await mkdir(dirname(folder), { recursive: true });
  if (!existsSync("/usr/sbin/debootstrap")) {
    await mustRun("apt-get", ["update", "-q"], { env: NON_INTERACTIVE });
    await mustRun("apt-get", ["install", "-y", "-q", "--no-install-recommends", "debootstrap"], {
      env: NON_INTERACTIVE,
    });
  }
  const made = await mkdtemp(join(dirname(folder), `${basename(folder)}-`));
  try {
    await chmod(made, 0o755);
    await begin(made, wanted);
    // No service may start: a package that finds no way to start one leaves it.
    await writeFile(join(made, "usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n", { mode: 0o755 });
    await prepare?.(made);
    const apt = ["apt-get", "install", "-y", "-q", "--no-install-recommends", ...packages];
    // Some packages want /proc while they come; mounted for this one program, it is gone when that ends.
    const withProc = 'mount -t proc proc "$1/proc" && exec chroot "$@"';
    await mustRun("unshare", ["--mount", "sh", "-c", withProc, "sh", made, ...apt], { env: NON_INTERACTIVE });
    await mustRun("chroot", [made, "apt-get", "clean"], { env: NON_INTERACTIVE });
    await rename(made, folder);
  } catch (error) {
    await rm(made, { recursive: true, force: true });
    // Another process may have been quicker.
    if (!existsSync(join(folder, proof))) throw error;
  }
}

/** The release as it is with nothing added. */
async function begin(made: string, { suite, from }: DebianFolder): Promise<void> {
  if (from !== undefined) return void (await mustRun("cp", ["-a", `${from}/.`, made]));
  const args = ["--variant=minbase", suite, made, await packageMirror()];
  await mustRun("/usr/sbin/debootstrap", args, { env: NON_INTERACTIVE });
}

/** Where this machine gets its own packages: the same place has those of Debian's other releases. */
async function packageMirror(): Promise<string> {
  const { stdout } = await mustRun("apt-get", ["indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"]);
  // Not the security archive, and not somebody else's.
  const mirror = stdout.split("\n").find((uri) => /\/debian\/?$/.test(uri));
  if (mirror === undefined) throw new Error("apt has no Debian mirror on this machine, so no other Debian can be had");
  return mirror.replace(/\/$/, "");
}
