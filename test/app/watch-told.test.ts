import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import { parseConfig } from "../../src/app/config.ts";
import type { StateFolder } from "../../src/app/state-folder.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { newsOf, NOTHING_TOLD, type Told, WatchTeller } from "../../src/app/watch-told.ts";
import type { Finding } from "../../src/base/findings.ts";
import { silent } from "../../src/base/progress.ts";
import type { Notice } from "../../src/notify/notice.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { startMailServer } from "../harness/mail-server.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { startListener } from "../harness/told.ts";

const MINUTE = 60_000;
const REPORT = 5_000;

function alarm(kind: string, level: Finding["level"] = "alarm", subject?: string): Finding {
  return { kind, level, message: `${kind} it is`, hint: "Mend it.", ...(subject === undefined ? {} : { subject }) };
}

function tellerIn(folder: TestFolder, notify: string) {
  const text = `installation: { id: 6f1c0000-0000-4000-8000-000000000001, name: acme }
repositories: [{ name: primary, location: /var }]
notify:\n${notify}`;
  const clock = new HandClock();
  const s: Surroundings = {
    signal: new AbortController().signal,
    progress: silent,
    env: {},
    cwd: folder.path,
    clock,
    person: undefined,
    redact: (value) => value,
    hide: () => {},
  };
  const state = { path: folder.path, notices: folder.at("notices") } as StateFolder;
  const begin = () => new WatchTeller(parseConfig(text, "c.yaml", {}), state, s);
  return { clock, teller: begin(), begin };
}

/** What each look of a watch tells, one after another. */
function toldOf(looks: readonly { atMs: number; findings: readonly Finding[] }[]): string[] {
  let told: Told = NOTHING_TOLD;
  return looks.flatMap(({ atMs, findings }) => {
    const news = newsOf(told, findings, atMs);
    ({ told } = news);
    const words = [
      ...news.fresh.map(({ kind, subject = "" }) => `${kind}${subject}`),
      ...(news.isOver ? ["well"] : []),
    ];
    return words.map((word) => `${atMs / 1000}: ${word}`);
  });
}

test("what was told by a clock that was ahead is told again when it comes back, after that was set right", () => {
  const warning = alarm("repository-behind", "warning", "usb");
  const ahead = 1_000 * 24 * 60 * MINUTE;
  const told = toldOf([
    { atMs: ahead, findings: [warning] },
    { atMs: 0, findings: [] },
    { atMs: REPORT, findings: [warning] },
    { atMs: 11 * MINUTE, findings: [warning] },
  ]);
  assert.deepEqual(told, [`${ahead / 1000}: repository-behindusb`, "0: well", "660: repository-behindusb"]);
});

test("what is new is told once, what is beside it too, a note never, and that all is well when the last is over", () => {
  const [a, b] = [alarm("slot"), alarm("repository-behind", "warning", "usb")];
  const told = toldOf([
    { atMs: 0, findings: [alarm("purged", "note")] },
    { atMs: 5_000, findings: [a] },
    { atMs: 10_000, findings: [a] },
    { atMs: 15_000, findings: [a, b] },
    { atMs: 20_000, findings: [b] },
    { atMs: 25_000, findings: [alarm("purged", "note")] },
    { atMs: 30_000, findings: [] },
  ]);
  assert.deepEqual(told, ["5: slot", "15: repository-behindusb", "25: well"]);
});

test("what comes and goes is told again after ten minutes at the earliest, and then only if it is there", () => {
  const looks = Array.from({ length: 300 }, (_, at) => ({
    atMs: at * REPORT,
    findings: at % 2 === 0 ? [alarm("session")] : [],
  }));
  assert.deepEqual(toldOf(looks), [
    "0: session",
    "5: well",
    "600: session",
    "605: well",
    "1200: session",
    "1205: well",
  ]);
});

test("an alarm that comes back and stays is told within a minute or so, and one that was not told is not said to be over", () => {
  const there = { findings: [alarm("session")] };
  const gone = { findings: [] };
  assert.deepEqual(
    toldOf([
      { atMs: 0, ...there },
      { atMs: 5_000, ...gone },
      { atMs: 10_000, ...there },
      { atMs: 15_000, ...gone },
      { atMs: 20_000, ...there },
      { atMs: 75_000, ...there },
      { atMs: 80_000, ...there },
      { atMs: 200_000, ...there },
      { atMs: 205_000, ...gone },
    ]),
    ["0: session", "5: well", "80: session", "205: well"],
  );
});

test("a warning that comes back and stays is told when the ten minutes are over", () => {
  const there = { findings: [alarm("behind", "warning")] };
  assert.deepEqual(
    toldOf([
      { atMs: 0, ...there },
      { atMs: 5_000, findings: [] },
      { atMs: 20_000, ...there },
      { atMs: 599_000, ...there },
      { atMs: 604_000, ...there },
    ]),
    ["0: behind", "5: well", "604: behind"],
  );
});

test("what was a warning and becomes an alarm is told at once", () => {
  const told = toldOf([
    { atMs: 0, findings: [alarm("slot-near-limit", "warning")] },
    { atMs: 5_000, findings: [alarm("slot-near-limit")] },
    { atMs: 10_000, findings: [alarm("slot-near-limit", "warning")] },
    { atMs: 15_000, findings: [alarm("slot-near-limit")] },
  ]);
  assert.deepEqual(told, ["0: slot-near-limit", "5: slot-near-limit"]);
});

test("people get a mail and a webhook with what is wrong and what to do, and one when all is well", async () => {
  await using folder = await temporaryFolder();
  await using listener = await startListener();
  await using mail = await startMailServer();
  const { teller, clock } = tellerIn(
    folder,
    `  - { kind: generic, url: "${listener.url}/all", on: always }
  - { kind: email, server: 127.0.0.1, port: ${mail.port}, security: none, from: chatkeep@desk.example, to: [maria@desk.example], on: always }\n`,
  );
  const file = { ...alarm("purged"), message: "'secret plan.pdf' went", discreet: "a file went" };
  assert.deepEqual(await teller.tell([alarm("log-not-received"), file]), []);
  await clock.advance(REPORT);
  assert.deepEqual(await teller.tell([alarm("log-not-received"), file]), []);
  await clock.advance(REPORT);
  assert.deepEqual(await teller.tell([]), []);
  await clock.advance(REPORT);
  assert.deepEqual(await teller.tell([]), []);
  const titles = ["NEEDS YOU", "is well again"].map((what) => `[chatkeep] acme: continuous protection ${what}`);
  const hooks = listener.told.map(({ body }) => JSON.parse(body) as Notice);
  assert.deepEqual(
    hooks.map(({ title }) => title),
    titles,
  );
  assert.deepEqual(
    mail.mails.map(({ source }) => /^Subject: (.*)$/m.exec(source)?.[1]?.trim()),
    titles,
  );
  const [first] = mail.mails;
  assert.match(first?.text ?? "", /alarm: log-not-received it is\n {2}Mend it\./);
  assert.match(first?.text ?? "", /a file went/);
  // Whoever is woken up by it learns where more is said; that all is well again needs no page.
  assert.deepEqual(
    hooks.map(({ text }) => text.includes("docs/watch-findings.md")),
    [true, false],
  );
  assert.ok(!JSON.stringify(hooks).includes("secret plan") && first?.source.includes("secret plan") === false);
});

test("one that takes nothing is a finding until it does, and gets what it missed by itself", async () => {
  await using folder = await temporaryFolder();
  await using listener = await startListener();
  const { teller, clock } = tellerIn(folder, `  - { kind: generic, url: "${listener.url}" }\n`);
  listener.answer = () => ({ status: 404 });
  const found = await teller.tell([alarm("base-not-taken")]);
  assert.deepEqual(
    found.map(({ kind }) => kind),
    ["notice-failed"],
  );
  const asked = listener.told.length;
  await clock.advance(REPORT);
  assert.deepEqual(await teller.tell([alarm("base-not-taken"), ...found]), found, "it stands");
  assert.equal(listener.told.length, asked, "and nobody is asked again so soon");
  listener.answer = () => ({ status: 200 });
  await clock.advance(10 * MINUTE);
  assert.deepEqual(await teller.tell([alarm("base-not-taken"), ...found]), []);
  assert.equal(listener.told.length, asked + 1);
});

test("what happened is told once, also by a watch that begins anew, and another of its kind is told", async () => {
  await using folder = await temporaryFolder();
  await using listener = await startListener();
  const { clock, teller, begin } = tellerIn(folder, `  - { kind: generic, url: "${listener.url}" }\n`);
  const event = (name: string) => ({ ...alarm("failover-left-behind"), event: name });
  await teller.tell([event("first"), alarm("base-not-taken")]);
  assert.equal(listener.told.length, 1);
  await clock.advance(60 * MINUTE);
  const again = begin();
  for (const looked of [[], [event("first")], [], [event("first")]]) {
    await again.tell(looked);
    await clock.advance(20 * MINUTE);
  }
  assert.equal(listener.told.length, 1);
  await again.tell([event("first"), alarm("base-not-taken"), event("second")]);
  assert.equal(listener.told.length, 2, "what goes on is told by the one that begins, and what is new");
  await clock.advance(24 * 60 * MINUTE);
  await writeFile(folder.at("watch-told.json"), "half of it");
  await begin().tell([event("first")]);
  assert.equal(listener.told.length, 3, "told twice is better than not at all");
});
