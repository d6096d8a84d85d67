/**
 * A pod of a manifest, run by a Docker Engine as a kubelet would have it run: its user, its group for volumes, what it may not,
 * its limits; Secrets as links to files that only root and the group read; claims that belong to the group. What Kubernetes
 * does around it (scheduling, names of services, the API) is not there.
 */
import assert from "node:assert/strict";
import { chmod, chown, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { PodSpec } from "./kubernetes-objects.ts";

interface PodSecurity {
  runAsNonRoot: boolean;
  runAsUser: number;
  runAsGroup: number;
  fsGroup: number;
  seccompProfile: { type: string };
}

interface ContainerSecurity {
  allowPrivilegeEscalation: boolean;
  readOnlyRootFilesystem: boolean;
  capabilities: { drop: string[] };
}

/** Folders of this machine, by the name of the volume. */
export type Volumes = Readonly<Record<string, string>>;

/** A folder as a claim or an `emptyDir` is when a pod has it. */
export async function makeVolume(path: string, { securityContext }: PodSpec): Promise<string> {
  await mkdir(path, { recursive: true });
  await chown(path, 0, (securityContext as PodSecurity).fsGroup);
  await chmod(path, 0o2777);
  return path;
}

/** A folder as a Secret is when a pod has it: each name leads through a link to the newest content. */
export async function makeSecret(path: string, files: Readonly<Record<string, string>>, pod: PodSpec): Promise<string> {
  const { fsGroup } = pod["securityContext"] as PodSecurity;
  const content = join(path, "..2026_11_28");
  await mkdir(content, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(content, name), text);
    await chmod(join(content, name), 0o440);
    await symlink(`..data/${name}`, join(path, name));
  }
  await symlink("..2026_11_28", join(path, "..data"));
  for (const one of [path, content, ...Object.keys(files).map((name) => join(content, name))])
    await chown(one, 0, fsGroup);
  return path;
}

/** What `docker run` is told: its options, the image, and the words of the command. */
export function dockerRun(pod: PodSpec, image: string, volumes: Volumes, options: readonly string[] = []): string[] {
  const [container] = pod.containers;
  const { runAsNonRoot, runAsUser, runAsGroup, fsGroup, seccompProfile } = pod["securityContext"] as PodSecurity;
  const { allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities } = container[
    "securityContext"
  ] as ContainerSecurity;
  // The engine's own profile is what RuntimeDefault means; the rest is put into its words below.
  assert.deepEqual([runAsNonRoot && runAsUser > 0, seccompProfile.type], [true, "RuntimeDefault"]);
  assert.deepEqual([allowPrivilegeEscalation, readOnlyRootFilesystem], [false, true]);
  const { limits } = container["resources"] as { limits: { memory: string } };
  const [entry, ...command] = container.command ?? [];
  const mounts = container.volumeMounts.flatMap(({ name, mountPath, readOnly }) => {
    const folder = volumes[name];
    assert.ok(folder !== undefined, `no folder for the volume ${name}`);
    return ["--volume", `${folder}:${mountPath}${readOnly === true ? ":ro" : ""}`];
  });
  return [
    `--user=${runAsUser}:${runAsGroup}`,
    `--group-add=${fsGroup}`,
    "--read-only",
    "--security-opt=no-new-privileges",
    ...capabilities.drop.map((name) => `--cap-drop=${name}`),
    `--memory=${limits.memory.replace("Gi", "g")}`,
    "--shm-size=64m",
    ...(container.env ?? []).map(({ name, value }) => `--env=${name}=${value ?? ""}`),
    ...mounts,
    ...(entry === undefined ? [] : [`--entrypoint=${entry}`]),
    ...options,
    image,
    ...command,
    ...(container.args ?? []),
  ];
}
