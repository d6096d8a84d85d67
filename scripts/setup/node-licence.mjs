/** The licence of the project's Node, which must travel with an executable that holds it. The `node` package leaves it out. */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { npmCommand, projectNode } from "./modules.mjs";
import { CACHE, ROOT, lastLines, runQuietly, say } from "./say.mjs";

/** Fetches it once, into `.cache`, unless it lies beside Node. Where it cannot be had, says so; so will who needs it. */
export async function fetchNodeLicence() {
  const { stdout } = await runQuietly(projectNode(), ["--version"]);
  const version = stdout.trim().slice(1);
  const name = `node-${process.platform}-${process.arch}`;
  const place = join(CACHE, "node-licence", version, "LICENSE");
  const beside = join(ROOT, "node_modules/node/node_modules", name, "LICENSE");
  if (existsSync(beside) || existsSync(place)) return;
  say(`fetching the licence of Node ${version} into .cache`);
  const scratch = mkdtempSync(join(tmpdir(), "chatkeep-licence-"));
  try {
    const { program, env } = npmCommand();
    const packing = ["pack", `${name}@${version}`, "--pack-destination", scratch, "--loglevel=error"];
    const packed = await runQuietly(program, packing, { env, cwd: scratch });
    const archive = readdirSync(scratch).find((file) => file.endsWith(".tgz"));
    if (archive === undefined) return say(`it cannot be had (${lastLines(packed.output, 1)})`);
    const { status, output } = await runQuietly("tar", ["-xzf", archive, "package/LICENSE"], { cwd: scratch });
    if (status !== 0) return say(`it cannot be unpacked (${lastLines(output, 1)})`);
    mkdirSync(join(place, ".."), { recursive: true });
    copyFileSync(join(scratch, "package/LICENSE"), place);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
