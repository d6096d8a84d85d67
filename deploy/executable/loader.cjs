/**
 * The first code of the single executable, and of each of its threads: it starts the program that lies inside, whose
 * functions were compiled when it was built. Nothing is read from the machine's disks.
 */
"use strict";
const { getRawAsset } = require("node:sea");
const { pathToFileURL } = require("node:url");
const { setFlagsFromString } = require("node:v8");
const { Script } = require("node:vm");
const { isMainThread, workerData } = require("node:worker_threads");

/** Node's own modules and no others: what lies in the folder where somebody happens to be is never run. */
function requireOwn(name) {
  const found = process.getBuiltinModule(name);
  if (found !== undefined) return found;
  throw Object.assign(new Error(`Cannot find module '${name}'`), { code: "MODULE_NOT_FOUND" });
}

// As bin/chatkeep.js does, and for the same reason.
if (isMainThread) setFlagsFromString("--heap-growing-percent=20");

const text = Buffer.from(getRawAsset("program.js")).latin1Slice();
const cachedData = Buffer.from(getRawAsset("program.cache"));
const script = new Script(text, { filename: "chatkeep/program.js", cachedData });
if (script.cachedDataRejected === true && process.env.CHATKEEP_DEBUG === "1") {
  process.stderr.write("the compiled code inside the executable is refused here, so it takes longer to start\n");
}
const program = { exports: {} };
script.runInThisContext()(program, requireOwn, pathToFileURL(process.execPath).href);
program.exports.start(isMainThread ? nameOfProcess() : workerData.thread);

/** Only who started it by itself, with a channel, makes a part of it. */
function nameOfProcess() {
  const [, , first = ""] = process.argv;
  return process.channel !== undefined && first.startsWith("part:") ? first.slice("part:".length) : "main";
}
