/** docs/kubernetes.md: the commands, files, objects and settings that it names are there. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { parseCall } from "../../src/cli/parse.ts";
import { objectsOf } from "../harness/kubernetes-objects.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const page = readFileSync(join(ROOT, "docs/kubernetes.md"), "utf8");

/** The lines of all blocks of shell, as words. */
const commands = [...page.matchAll(/^```sh\n([^]*?)^```$/gm)].flatMap(([, block = ""]) =>
  block
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split(" ")),
);

/** What stands behind an option, each time. */
function given(words: readonly string[], option: string): string[] {
  return words.flatMap((word, index) => {
    if (word === option) return [words[index + 1] ?? ""];
    return word.startsWith(`${option}=`) ? [word.slice(option.length + 1)] : [];
  });
}

test("every command of Chatkeep's is one that it understands", () => {
  const own = commands.flatMap((words) => {
    const at = words.indexOf("--");
    return words[at + 1] === "chatkeep" ? [words.slice(at + 2)] : [];
  });
  const inText = [...page.matchAll(/`chatkeep ([^`]+)`/g)].map(([, text = ""]) => text.split(" "));
  assert.ok(own.length >= 8 && inText.length >= 3);
  for (const words of [...own, ...inText]) assert.doesNotThrow(() => parseCall(words), words.join(" "));
});

test("every file of the project that it names is there", () => {
  const files = [...page.matchAll(/deploy\/(?:kubernetes|helm)[a-z/.-]*[a-z]/g)].map(([file]) => file);
  assert.ok(files.length >= 8);
  for (const file of files) assert.ok(existsSync(join(ROOT, file)), file);
});

test("every object that a command reaches is in the manifests, in the chart, or made by a command before it", () => {
  const folder = join(ROOT, "deploy/kubernetes");
  const files = readdirSync(folder).filter((name) => name.endsWith(".yaml"));
  const known = new Set(
    files
      .flatMap((name) => objectsOf(join(folder, name)))
      .filter(({ metadata }) => metadata !== undefined)
      .map(({ kind, metadata }) => `${kind.toLowerCase()}/${metadata.name}`),
  );
  // The chart's, of a release named 'chatkeep' and its first revision; Chatwoot's own.
  for (const one of ["pod/chatkeep-terminal-1", "cronjob/chatkeep"]) known.add(one);
  const reached: string[] = [];
  for (const words of commands.filter(([program]) => program === "kubectl")) {
    assert.ok(words.includes("--kustomize") || given(words, "--namespace")[0] === "chatwoot", words.join(" "));
    const own = words.slice(0, words.includes("--") ? words.indexOf("--") : undefined);
    const plain = own.filter((word, index) => !word.startsWith("--") && own[index - 1] !== "--namespace");
    const [, verb, kind, name] = plain;
    if (verb === "create" && kind === "job") known.add(`job/${name}`);
    if (verb === "delete") reached.push(`${kind}/${name}`);
    if (verb === "exec") reached.push(`pod/${kind}`);
    if (verb === "cp") reached.push(`pod/${kind?.split(":")[0]}`);
    if (verb === "wait" || verb === "logs") reached.push(kind ?? "");
    reached.push(...given(own, "--from"));
  }
  reached.push(...[...page.matchAll(/`(cronjob\/[^`]+)`/g)].map(([, name = ""]) => name));
  assert.ok(reached.length >= 10);
  for (const one of reached) assert.ok(known.has(one), one);
});

test("every setting of the chart that it names is one of its values", () => {
  const values = parse(readFileSync(join(ROOT, "deploy/helm/chatkeep/values.yaml"), "utf8")) as Record<string, unknown>;
  const inCommands = commands.filter(([program]) => program === "helm").flatMap((words) => given(words, "--set"));
  const inText = [...page.matchAll(/`[^`]*--set ([\w.]+)=/g)].map(([, name = ""]) => name);
  const named = [...page.matchAll(/`((?:rbac|scratch|storage)\.\w+)`/g)].map(([, name = ""]) => name);
  assert.ok(inCommands.length >= 3 && inText.length >= 2 && named.length >= 2);
  for (const setting of [...inCommands, ...inText, ...named]) {
    const path = (setting.split("=")[0] ?? "").split(".");
    const value = path.reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], values);
    assert.notEqual(value, undefined, setting);
  }
});
