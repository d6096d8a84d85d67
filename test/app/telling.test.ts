import assert from "node:assert/strict";
import { test } from "node:test";
import { parseConfig } from "../../src/app/config.ts";
import { openChannels, openPings } from "../../src/app/channels.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { callSwitch, tellAll } from "../../src/app/telling.ts";
import { silent } from "../../src/base/progress.ts";
import type { Notice, Outcome } from "../../src/notify/notice.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { startListener } from "../harness/told.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

const BASE = `installation: { id: 6f1c0000-0000-4000-8000-000000000001, name: acme }
repositories: [{ name: primary, location: /var }]
`;

function configOf(text: string) {
  return parseConfig(`${BASE}${text}`, "c.yaml", {});
}

function surroundings(hidden: string[] = []) {
  return {
    signal: new AbortController().signal,
    progress: silent,
    env: {},
    cwd: "/",
    clock: new HandClock({ wakesAtOnce: true }),
    person: undefined,
    redact: <T>(value: T) => JSON.parse(JSON.stringify(value).replaceAll("s3cret", "•••")) as T,
    hide: (secrets: Iterable<string>) => void hidden.push(...secrets),
  } satisfies Surroundings;
}

function notice(title: string, outcome: Outcome = "failure"): Notice {
  return { outcome, title, text: `${title} s3cret\n`, facts: {} };
}

function toolsIn(folder: TestFolder) {
  return { ...surroundings(), folder: folder.at("notices") };
}

test("each channel is told what it wants to know, and no secret", async () => {
  await using folder = await temporaryFolder();
  await using listener = await startListener();
  const channel = (path: string, on: string) => `  - { kind: generic, url: "${listener.url}/${path}", on: ${on} }\n`;
  const config = configOf(
    `notify:\n${channel("usual", "[failure, finding]")}${channel("all", "always")}${channel("well", "success")}`,
  );
  for (const outcome of ["failure", "finding", "success"] as const) {
    const opened = await openChannels(config, surroundings());
    const { findings } = await tellAll(opened, notice(outcome, outcome), toolsIn(folder));
    assert.deepEqual(findings, []);
  }
  const told = listener.told.map(({ path, body }) => `${path} ${(JSON.parse(body) as Notice).title}`);
  assert.deepEqual(told.toSorted(), [
    "/all failure",
    "/all finding",
    "/all success",
    "/usual failure",
    "/usual finding",
    "/well success",
  ]);
  assert.ok(listener.told.every(({ body }) => !body.includes("s3cret")));
});

test("what cannot be told is a warning, is kept without a secret, and told by the next run, in order", async () => {
  await using folder = await temporaryFolder();
  await using listener = await startListener();
  const own = toolsIn(folder);
  const opened = await openChannels(configOf(`notify: [{ kind: slack, url: "${listener.url}" }]`), surroundings());
  listener.answer = () => ({ status: 500 });
  const first = await tellAll(opened, notice("first"), own);
  assert.deepEqual(
    first.findings.map(({ kind, level, message }) => [kind, level, message]),
    [["notice-failed", "warning", `'slack' could not be told: 127.0.0.1:${listener.port} answered 500`]],
  );
  assert.equal(listener.told.length, 3);
  const second = await tellAll(opened, notice("second"), own);
  assert.equal(second.findings.length, 1, "once, though two notices wait");
  assert.equal(listener.told.length, 6, "the second is kept without being tried where the first has just failed");

  listener.told.length = 0;
  listener.answer = () => ({ status: 200 });
  const third = await tellAll(opened, notice("third", "success"), own);
  assert.deepEqual(third.findings, []);
  assert.deepEqual(
    third.notices.map(({ isLate, delivered }) => [isLate, delivered]),
    [
      [true, true],
      [true, true],
    ],
  );
  const titles = listener.told.map(({ body }) => /\*(.*?)\*/.exec((JSON.parse(body) as { text: string }).text)?.[1]);
  assert.deepEqual(titles, ["first (late)", "second (late)"]);
  assert.ok(listener.told.every(({ body }) => !body.includes("s3cret")));
});

test("what was kept for a channel that is gone, or for a week, is dropped", async () => {
  await using folder = await temporaryFolder();
  await using listener = await startListener();
  listener.answer = () => ({ status: 500 });
  const open = async (name: string) =>
    await openChannels(configOf(`notify: [{ kind: slack, name: ${name}, url: "${listener.url}" }]`), surroundings());
  const own = toolsIn(folder);
  await tellAll(await open("old"), notice("for the old"), own);
  await tellAll(await open("new"), notice("for the new"), own);
  listener.told.length = 0;
  listener.answer = () => ({ status: 200 });
  await own.clock.advance(8 * 24 * 3_600_000);
  const { notices } = await tellAll(await open("new"), notice("now", "success"), own);
  assert.deepEqual([notices, listener.told], [[], []]);
});

test("a channel whose secret cannot be read is a warning, and the others are told", async () => {
  await using folder = await temporaryFolder();
  await using listener = await startListener();
  const config = configOf(
    `notify:\n  - { kind: slack, url-file: /nowhere/slack }\n  - { kind: telegram, chat: "1" }\n  - { kind: generic, url: "${listener.url}" }\n  - { kind: email, to: a@b.c, server: mail.example.com, security: none, user: u, password: p4ssword }\n`,
  );
  const opened = await openChannels(config, surroundings());
  const { findings } = await tellAll(opened, notice("x"), toolsIn(folder));
  assert.equal(listener.told.length, 1);
  assert.deepEqual(
    findings.map(({ message }) => message.replace(/: ENOENT.*/, "")),
    [
      "'slack' could not be told: cannot read the address of notify 'slack' from '/nowhere/slack'",
      "'telegram' could not be told: the token of notify 'telegram' is not given",
      "'email' could not be told: the password of notify 'email' would travel to mail.example.com for everybody to read",
    ],
  );
});

test("the address of a webhook, its path and its token are secrets", async () => {
  const hidden: string[] = [];
  const config = configOf(
    `notify: [{ kind: slack, url: "https://hooks.example.com/services/T012345678901234/B01/abcdef0123456789abcdef" }]`,
  );
  await openChannels(config, surroundings(hidden));
  for (const secret of ["/services/T012345678901234/B01/abcdef0123456789abcdef", "abcdef0123456789abcdef"])
    assert.ok(hidden.includes(secret), secret);
});

/** Start, success and failure. */
async function addresses(text: string): Promise<(string | undefined)[]> {
  const { start, success, failure } = await openPings(configOf(`ping: ${text}`).ping, surroundings());
  return [start?.href, success?.href, failure?.href];
}

test("a dead-man's switch is called at its start, success and failure addresses", async () => {
  assert.deepEqual(await addresses("https://hc.example.com/ping/6f1c?rid=1"), [
    "https://hc.example.com/ping/6f1c/start?rid=1",
    "https://hc.example.com/ping/6f1c?rid=1",
    "https://hc.example.com/ping/6f1c/fail?rid=1",
  ]);
  assert.deepEqual(await addresses("{ success: 'https://up.example.com/push/x?status=up' }"), [
    undefined,
    "https://up.example.com/push/x?status=up",
    undefined,
  ]);
  assert.deepEqual(await addresses("{ url: 'https://a.example/x', failure: 'https://b.example/y' }"), [
    "https://a.example/x/start",
    "https://a.example/x",
    "https://b.example/y",
  ]);
});

test("a switch that does not answer is a warning", async () => {
  await using listener = await startListener();
  listener.answer = () => "silence";
  const findings = await callSwitch(new URL(listener.url), { ...surroundings(), limitMs: 50 });
  assert.deepEqual(
    findings.map(({ kind, level }) => [kind, level]),
    [["ping-failed", "warning"]],
  );
  assert.deepEqual(await callSwitch(undefined, surroundings()), []);
});
