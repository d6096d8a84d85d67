#!/usr/bin/env node
// Plain JavaScript, so that a Node that is too old can still say so.
import { existsSync } from "node:fs";
import module from "node:module";
import v8 from "node:v8";
import { userInfo } from "node:os";
import { join } from "node:path";

const major = Number(process.versions.node.split(".")[0]);
if (major < 24) {
  process.stderr.write(`error: Chatkeep needs Node 24 or newer, and this is Node ${process.versions.node}\n`);
  process.stderr.write("hint: Debian's own package is older; https://nodejs.org/en/download has newer ones.\n");
  process.exit(2);
}
try {
  // Compiled code is run when it is found again, so it is kept in the user's own folder; Node's default is a folder of
  // a known name in /tmp, which anybody may have made before us.
  module.enableCompileCache(
    process.env.NODE_COMPILE_CACHE ?? join(userInfo().homedir, ".cache", "chatkeep", "compiled"),
  );
} catch {
  // A user without an entry in the password file: then starting takes a little longer.
}
// V8 lets garbage pile up as far as the machine has memory; a backup shares its machine with a support desk.
v8.setFlagsFromString("--heap-growing-percent=20");
// A checkout runs its TypeScript as it is; the published package holds compiled JavaScript instead.
const source = new URL("../src/cli/main.ts", import.meta.url);
await import(existsSync(source) ? source.href : new URL("../dist/cli/main.js", import.meta.url).href);
