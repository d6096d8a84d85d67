/** Node 24, the oldest that the package supports, for the test that installs the package under it. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { npmCommand } from "./modules.mjs";
import { CACHE, lastLines, runQuietly, say } from "./say.mjs";

const FOLDER = join(CACHE, "node-24");

/** npm's last words that say anything. */
function reason(output) {
  const lines = output.split("\n").filter((line) => line.trim() !== "" && !line.includes("complete log"));
  return lastLines(lines.join("\n"), 1);
}

/** Fetches it once, into `.cache`. Where it cannot be had, says so; the test that wants it says so, too. */
export async function fetchOlderNode() {
  if (existsSync(join(FOLDER, "node_modules/.bin/node"))) return;
  say("fetching Node 24 into .cache");
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  const manifest = { private: true, dependencies: { node: "^24.0.0" }, allowScripts: { node: true } };
  writeFileSync(join(FOLDER, "package.json"), JSON.stringify(manifest));
  const { program, env } = npmCommand();
  const args = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"];
  const { status, output } = await runQuietly(program, args, { env, cwd: FOLDER });
  if (status === 0) return;
  rmSync(FOLDER, { recursive: true, force: true });
  say(`Node 24 cannot be had (${reason(output)}); its test says so`);
}
