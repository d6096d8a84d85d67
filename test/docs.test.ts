/** The documents say what is: links resolve, every error and exit status is explained, commands are understood. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { ERRORS } from "../src/base/errors.ts";
import { EXITS } from "../src/cli/exits.ts";
import { parseCall } from "../src/cli/parse.ts";
import { isAckable, isDoctorsOwn } from "../src/job/quiet.ts";

const ROOT = resolve(import.meta.dirname, "..");

function documents(): { name: string; text: string }[] {
  const inDocs = ["docs", "deploy"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name)),
  );
  const inRoot = readdirSync(ROOT).map((name) => join(ROOT, name));
  return [...inRoot, ...inDocs]
    .filter((path) => path.endsWith(".md"))
    .map((path) => ({ name: relative(ROOT, path), text: readFileSync(path, "utf8") }));
}

function document(name: string): string {
  return readFileSync(join(ROOT, name), "utf8");
}

/** The anchors that a forge makes of a document's headings. */
function anchors(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, title = ""]) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{Letter}\p{Number}\- ]/gu, "")
      .replaceAll(" ", "-"),
  );
}

function withoutCode(text: string): string {
  return text.replaceAll(/^```[^]*?^```$/gm, "").replaceAll(/`[^`\n]*`/g, "");
}

test("every link in the documents leads to a file and a heading that exist", () => {
  const broken: string[] = [];
  for (const { name, text } of documents()) {
    for (const [, target = ""] of withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [path = "", anchor] = target.split("#");
      const file = path === "" ? join(ROOT, name) : resolve(ROOT, dirname(name), path);
      if (!existsSync(file)) broken.push(`${name}: ${target}`);
      else if (anchor !== undefined && !anchors(readFileSync(file, "utf8")).includes(anchor)) {
        broken.push(`${name}: ${target} (no such heading)`);
      }
    }
  }
  assert.deepEqual(broken, []);
});

test("every source and test file that a document names exists", () => {
  const broken: string[] = [];
  for (const { name, text } of documents()) {
    for (const [path] of text.matchAll(/(?<![\w/.-])(?:src|test|bench|scripts|bin)\/[\w./-]*\w/g)) {
      if (!existsSync(join(ROOT, path))) broken.push(`${name}: ${path}`);
    }
  }
  assert.deepEqual(broken, []);
});

test("docs/errors.md explains every code once, under its exit status, and no other", () => {
  const sections = document("docs/errors.md").split(/^## /m).slice(1);
  const found: string[] = [];
  for (const section of sections) {
    const status = Number(/^Exit (\d+)\n/.exec(section)?.[1]);
    for (const [, code = ""] of section.matchAll(/^### `(.+)`$/gm)) found.push(`${status} ${code}`);
  }
  const expected = Object.entries(ERRORS).map(([code, { exit }]) => `${exit} ${code}`);
  assert.deepEqual(found.toSorted(), expected.toSorted());
});

test("docs/errors.md and the README explain every exit status", () => {
  const inErrors = [...document("docs/errors.md").matchAll(/^## Exit (\d+)$/gm)].map(([, status]) => Number(status));
  const inReadme = [...document("README.md").matchAll(/^\| (\d+) \|/gm)].map(([, status]) => Number(status));
  assert.deepEqual(inErrors, Object.keys(EXITS).map(Number));
  assert.deepEqual(inReadme, Object.keys(EXITS).map(Number));
});

/** Kinds of findings, where the source writes them out beside their level. */
function findingKinds(ofFiles = /./): string[] {
  const files = readdirSync(join(ROOT, "src"), { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile() && ofFiles.test(entry.name),
  );
  const texts = files.map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"));
  const found = texts.flatMap((text) => [...text.matchAll(/kind: "([a-z]+(?:-[a-z]+)*)",\s*(?:\/\/.*\s*)*level:/g)]);
  return [...new Set(found.map(([, kind = ""]) => kind))].toSorted();
}

test("every finding is explained in the documents", () => {
  const kinds = findingKinds();
  assert.ok(kinds.length > 100, `${kinds.length} kinds found`);
  const text = documents()
    .filter(({ name }) => name.startsWith("docs/"))
    .map((document) => document.text)
    .join("\n");
  assert.deepEqual(
    kinds.filter((kind) => !text.includes(`\`${kind}\``)),
    [],
  );
});

test("docs/watch-findings.md says of each finding of a watch what happened, whether anything is lost, and what to do", () => {
  const sections = document("docs/watch-findings.md").split(/^## /m).slice(1);
  const ofFindings = new Map(
    sections
      .map((section) => [/^.*/.exec(section)?.[0] ?? "", section] as const)
      .filter(([name]) => /^[a-z]/.test(name)),
  );
  // Whose kind is chosen where it is made.
  const chosen = [
    "failover-left-behind",
    "log-not-received",
    "other-cluster",
    "files-not-followed",
    "purged-before-copy",
  ];
  const kinds = [...findingKinds(/(?:watch-.*|log-findings|damaged-pages|clock-off)\.ts$/), ...chosen];
  assert.deepEqual([...ofFindings.keys()].toSorted(), kinds.toSorted());
  for (const [name, section] of ofFindings) {
    const asked = [...section.matchAll(/^\*\*([^*]+)\*\* /gm)].map(([, question]) => question);
    assert.deepEqual(asked, ["What happened.", "Is anything lost?", "What to do."], name);
  }
});

test("docs/watch-findings.md has each finding by the words that its message begins with, as the source has them", () => {
  const sources = readdirSync(join(ROOT, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"));
  const text = sources.join("\n");
  const rows = [...document("docs/watch-findings.md").matchAll(/^\| (.*) \| \[`([a-z-]+)`\]\(#[a-z-]+\) \| /gm)];
  assert.ok(rows.length > 20, `${rows.length} messages found`);
  for (const [, messages = "", kind = ""] of rows) {
    for (const [, message = ""] of messages.matchAll(/`([^`]+)`/g)) {
      const lacking = message.split(/…|: /).filter((words) => !text.includes(words.trim()));
      assert.deepEqual(lacking, [], kind);
    }
  }
});

test("docs/doctor.md says of each finding whether it can be acknowledged", () => {
  const wrong: string[] = [];
  const told = new Set<string>();
  for (const [, names = "", ack] of document("docs/doctor.md").matchAll(/^\| (`[^|]*`) \|.*\| (yes)? ?\|$/gm)) {
    for (const [, kind = ""] of names.matchAll(/`([a-z-]+)`/g)) {
      told.add(kind);
      // What shrank has acknowledgements of its own kind.
      if ((ack === "yes") !== (isAckable(kind) || kind === "shrunk")) wrong.push(kind);
    }
  }
  assert.deepEqual(wrong, []);
  assert.ok(told.size > 80, `${told.size} findings found`);
  const only = findingKinds().filter((kind) => isDoctorsOwn(kind) && !told.has(kind));
  assert.deepEqual(only, []);
});

test("docs/daily.md has every metric that is written, no other, and alert rules as Prometheus takes them", () => {
  const text = document("docs/daily.md");
  const source = document("src/job/run-metrics.ts");
  const written = [...source.matchAll(/\[\s*"([a-z_]+)",\s*"[A-Z0-9]/g)].map(([, name]) => `chatkeep_${name}`);
  const told = [...text.matchAll(/^\| (`chatkeep_.*?) \|/gm)].flatMap(
    ([, names = ""]) => names.match(/chatkeep_\w+/g) ?? [],
  );
  assert.ok(written.length > 15);
  assert.deepEqual(told.toSorted(), written.toSorted());
  const [, yaml = ""] = /```yaml\n(groups:[^]*?)```/.exec(text) ?? [];
  const { groups } = parse(yaml) as { groups: { rules: { alert: string; expr: string }[] }[] };
  const rules = groups.flatMap((group) => group.rules);
  assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length);
  for (const { alert, expr } of rules) {
    const [name = "none"] = /chatkeep_\w+/.exec(expr) ?? [];
    assert.ok(written.includes(name), `${alert}: ${name}`);
  }
  assert.ok(rules.some(({ expr }) => expr.includes("chatkeep_watch_safe_until_timestamp_seconds")));
});

test("no section of docs/errors.md is empty", () => {
  for (const section of document("docs/errors.md").split(/^### /m).slice(1)) {
    assert.ok(section.replace(/^.*\n/, "").trim().length > 80, section);
  }
});

test("no document names a path of the machine that it was written on", () => {
  for (const { name, text } of documents()) {
    assert.doesNotMatch(text, /(?<![\w.])\/(?:work|root|tmp|Users)(?:\/|\b)/, name);
  }
});

test("every chatkeep command in the documents is understood by the command line", () => {
  let count = 0;
  for (const { name, text } of documents()) {
    for (const [, block = ""] of text.matchAll(/^```sh\n([^]*?)^```$/gm)) {
      for (const line of block.split("\n").filter((line) => line.startsWith("chatkeep "))) {
        assert.doesNotThrow(() => parseCall(line.split(/\s+/).slice(1)), `${name}: ${line}`);
        count += 1;
      }
    }
  }
  assert.ok(count > 5, `${count} commands found`);
});

test("the README's blocks for the integration test are shell, and there are some", () => {
  const marks = [...document("README.md").matchAll(/^<!-- run -->\n(.*)$/gm)];
  assert.ok(marks.length >= 4);
  for (const [, next] of marks) assert.equal(next, "```sh");
});
