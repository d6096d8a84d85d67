/** What the single executable holds: the command line, and every thread and process that it starts. */
type Start = () => Promise<unknown>;

/** By the name of the file that a thread is started from elsewhere. */
const STARTS: Readonly<Record<string, Start>> = {
  main: async () => await import("../../src/cli/main.ts"),
  "sealing-bytes-worker": async () => await import("../../src/job/sealing-bytes-worker.ts"),
  "sealing-worker": async () => await import("../../src/job/sealing-worker.ts"),
  "copy-worker": async () => await import("../../src/repo/copy-worker.ts"),
  "restore-worker": async () => await import("../../src/repo/restore-worker.ts"),
  "network-part": async () => await import("../../src/system/network-part.ts"),
  "verify-worker": async () => await import("../../src/repo/verify-worker.ts"),
};

/** Starts one of them in the thread that calls. @throws Error for a thread that is not inside: then the build is at fault. */
export function start(name: string): void {
  const load = STARTS[name];
  if (load === undefined) throw new Error(`the executable holds no '${name}'`);
  void load();
}
