#!/usr/bin/env node
// Plain JavaScript, so that a Node that is too old can still say so.
import { existsSync } from "node:fs";
import module from "node:module";

const major = Number(process.versions.node.split(".")[0]);
if (major < 24) {
  process.stderr.write(`error: Chatkeep needs Node 24 or newer, and this is Node ${process.versions.node}\n`);
  process.exit(2);
}
module.enableCompileCache?.();
// A checkout runs its TypeScript as it is; the published package holds compiled JavaScript instead.
const source = new URL("../src/cli/main.ts", import.meta.url);
await import(existsSync(source) ? source.href : new URL("../dist/cli/main.js", import.meta.url).href);
