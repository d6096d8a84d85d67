/** Debian's Redis and its client, installed where they are not yet. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { mustRun } from "./run.ts";

export const REDIS = "/usr/bin/redis-server";

const SET_UP = resolve(import.meta.dirname, "../../scripts/setup/as-root.mjs");

export async function installRedis(): Promise<void> {
  if (!existsSync(REDIS)) await mustRun(process.execPath, [SET_UP, "redis-server"]);
}
