/**
 * `node --hash-seed=1 compile.mjs PROGRAM CACHE`: compiles the program as its loader will, and writes what V8 made of it. With
 * a seed that is always the same it is always the same.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { Script } from "node:vm";

const [, , program, cache] = process.argv;
// V8 takes code only from a V8 with the same flags: the loader's, and none else.
setFlagsFromString("--heap-growing-percent=20");
setFlagsFromString("--hash-seed=0");
const text = readFileSync(program, "latin1");
const cachedData = new Script(text, { filename: "chatkeep/program.js" }).createCachedData();
if (new Script(text, { filename: "chatkeep/program.js", cachedData }).cachedDataRejected !== false) {
  throw new Error("what was compiled is refused");
}
writeFileSync(cache, cachedData);
