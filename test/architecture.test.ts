/** The law of the house: who may import whom, and which rooms are pure. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { test } from "node:test";

const ROOT = resolve(import.meta.dirname, "..");
const SRC = join(ROOT, "src");

/** Every room, and the rooms that its files may import. */
const SEES: Record<string, readonly string[]> = {
  // floor 0: pure
  base: [],
  format: ["base"],
  wal: ["base"],
  point: ["base", "wal"],
  chatwoot: ["base"],
  // What can be brought back is a matter of positions in the log.
  policy: ["base", "wal"],
  // floor 1: the world
  system: ["base"],
  store: ["base", "system"],
  repo: ["base", "format", "store", "system"],
  postgres: ["base", "system", "wal"],
  installation: ["base", "chatwoot", "system"],
  notify: ["base", "system"],
  schedule: ["base", "system"],
  source: ["base", "chatwoot", "store"],
  // floor 2: the verbs
  job: [
    "base",
    "format",
    "wal",
    "point",
    "chatwoot",
    "policy",
    "system",
    "store",
    "repo",
    "postgres",
    "installation",
    "source",
  ],
  app: [
    "base",
    "wal",
    "point",
    "chatwoot",
    "policy",
    "system",
    "store",
    "repo",
    "postgres",
    "installation",
    "notify",
    "schedule",
    "source",
    "job",
  ],
  // floor 3: the doors
  demo: ["base", "point", "chatwoot", "system", "postgres", "installation", "job", "app"],
  cli: ["base", "point", "job", "app", "demo"],
};

/** Rooms that compute and never touch the world, and the only built-ins that they may use. */
const PURE = new Set(["base", "format", "wal", "point", "chatwoot", "policy"]);
const PURE_BUILTINS = new Set(["node:buffer", "node:crypto", "node:zlib", "node:util", "node:module"]);
const EXCEPTIONS = new Set(["src/base/clock.ts node:timers/promises"]);

interface Import {
  file: string;
  specifier: string;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(file, "utf8");
  const found = text.matchAll(
    /(?:^|\n)\s*(?:import|export)\s[^;]*?from\s+"([^"]+)"|import\("([^"]+)"\)|import\s+"([^"]+)"/g,
  );
  return [...found].map((m) => ({ file, specifier: m[1] ?? m[2] ?? m[3] ?? "" }));
}

function sourceFiles(): string[] {
  return readdirSync(SRC, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => join(entry.parentPath, entry.name));
}

function roomOf(file: string): string {
  return relative(SRC, file).split("/")[0] ?? "";
}

/** The sentence to print when an import breaks the law, or undefined. */
function verdict({ file, specifier }: Import): string | undefined {
  const room = roomOf(file);
  const shown = `${relative(ROOT, file)} imports ${specifier}`;
  if (!specifier.startsWith(".")) {
    if (!PURE.has(room) || PURE_BUILTINS.has(specifier)) return undefined;
    return EXCEPTIONS.has(`${relative(ROOT, file)} ${specifier}`)
      ? undefined
      : `${shown}: a pure room touches the world`;
  }
  const target = resolve(dirname(file), specifier);
  const other = roomOf(target);
  if (other === room) return undefined;
  if (!target.startsWith(SRC)) return `${shown}: outside src`;
  if (SEES[room]?.includes(other) !== true) return `${shown}: '${room}' may not see '${other}'`;
  return relative(SRC, target).split("/").length === 2 ? undefined : `${shown}: private to '${other}'`;
}

test("every import looks down, through a room's front door", () => {
  const broken = sourceFiles()
    .flatMap(importsOf)
    .map(verdict)
    .filter((line) => line !== undefined);
  assert.deepEqual(broken, []);
});

test("every folder of src is a room that the law names", () => {
  const rooms = readdirSync(SRC).toSorted();
  assert.deepEqual(
    rooms.filter((room) => !(room in SEES)),
    [],
  );
});

test("pure rooms read no clock, no chance and no process", () => {
  const broken = sourceFiles()
    .filter((file) => PURE.has(roomOf(file)) && !file.endsWith("base/clock.ts"))
    .filter((file) =>
      /\bMath\.random|\bprocess\.(?!versions)|\bnew Date\(\)|\bDate\.now/.test(readFileSync(file, "utf8")),
    )
    .map((file) => relative(ROOT, file));
  assert.deepEqual(broken, []);
});

test("the law notices a broken import", () => {
  const upward = { file: join(SRC, "repo/x.ts"), specifier: "../job/backup.ts" };
  const inside = { file: join(SRC, "job/x.ts"), specifier: "../repo/inner/y.ts" };
  const worldly = { file: join(SRC, "format/x.ts"), specifier: "node:fs" };
  for (const bad of [upward, inside, worldly]) assert.notEqual(verdict(bad), undefined);
});
