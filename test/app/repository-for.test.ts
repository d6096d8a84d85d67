/** Of several repositories one was left behind: what is read for a word is the one that has most of it, and that is said. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { openNextToDrill } from "../../src/app/copies.ts";
import { type ChoiceOptions, openFor } from "../../src/app/repository-for.ts";
import { askedOf } from "../../src/app/session.ts";
import type { Person, Surroundings } from "../../src/app/surroundings.ts";
import { type Clock, formatInstant, systemClock } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import { type Progress, silent } from "../../src/base/progress.ts";
import { forget } from "../../src/job/forget.ts";
import { formatMicros } from "../../src/point/continuous.ts";
import { momentTags } from "../../src/point/moment.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { callCli } from "../harness/cli.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { factsOf, putBase } from "../job/continuous/bases.ts";
import { LINE, putJournal, putSpan, SEGMENT, START } from "../job/continuous/spans.ts";
import { addPoint, DAY, forgetting, HOUR, NOW, ONE } from "../job/kept-points.ts";
import { newRepository, PASSWORD, reopen, signal } from "../repo/small-backup.ts";

const us = (minutes: number) => BigInt(NOW + minutes * 60_000) * 1000n;
const shown = (minutes: number) => formatMicros(us(minutes));

let folder: TestFolder;
let first: Repository;
let second: Repository;

/** A base that ended at a minute, and a segment of the log with commits at 10 and 20. */
async function putLog(repository: Repository, ended: number): Promise<void> {
  const [from, to] = [START + 100n, START + 5000n];
  await putBase(repository, folder.at("data"), { facts: factsOf({ from, to, beganUs: us(0), endedUs: us(ended) }) });
  const commits = [10, 20].map((minute) => ({ lsn: START + BigInt(minute * 1000), timeUs: us(minute) }));
  await putSpan(repository, { at: 0, bytes: randomBytes(SEGMENT), commits });
}

/** More of the log, in the journal, with a commit at its end. */
async function putMore(repository: Repository, minute: number, from: number, to: number): Promise<void> {
  const commits = [{ lsn: START + BigInt(to), timeUs: us(minute) }];
  await putJournal(repository, { at: from, bytes: randomBytes(to - from), commits });
}

before(async () => {
  folder = await temporaryFolder("chatkeep-which");
  mkdirSync(folder.at("data"));
  [first, second] = (await Promise.all(
    ["first", "second"].map(async (name) => await newRepository(openLocalStore(folder.at(name)))),
  )) as [Repository, Repository];
  await putLog(first, 1);
  await putLog(second, 2);
  configure("first", "second");
});
after(async () => await folder[Symbol.asyncDispose]());

type Opening = { name: string } & ({ password: string } | { "password-command": string });

function configure(...given: (string | Opening)[]): void {
  const repositories = given
    .map((one) => (typeof one === "string" ? { name: one, password: PASSWORD } : one))
    .map((one) => ({ ...one, location: folder.at(one.name) }));
  const installation = { id: ONE, name: "desk", kind: "manual", "database-url": "postgresql://localhost:1/none" };
  writeFileSync(folder.at("chatkeep.yaml"), JSON.stringify({ installation, repositories }));
}

type Choosing = ChoiceOptions & { repository?: string; clock?: Clock; person?: Person };

async function choose(words: string | string[], options?: Choosing) {
  const { opened, said } = await opening(words, options);
  return { name: opened.name, said };
}

/** The kinds and levels of what is found of the others, and why it is this one. */
async function found(words: string | string[], options?: Choosing) {
  const { opened } = await opening(words, options);
  const { name, why, findings = [] } = opened;
  return { name, why, kinds: findings.map(({ kind, level }) => `${level} ${kind}`), findings };
}

async function opening(words: string | string[], options?: Choosing) {
  const said: string[] = [];
  const progress: Progress = { ...silent, say: (line) => void said.push(line) };
  const s: Surroundings = {
    hide: () => {},
    redact: <T>(value: T) => value,
    person: options?.person,
    progress,
    signal,
    env: {},
    cwd: folder.path,
    clock: options?.clock ?? systemClock,
  };
  const { repository } = options ?? {};
  const opened = await openFor({ config: folder.at("chatkeep.yaml"), repository }, [words].flat(), s, options);
  return { opened, said, s };
}

const refuse = async () => await Promise.reject(new Error("nothing is asked for"));
const NOBODY_ASKED: Person = { confirm: refuse, text: refuse, secret: refuse };

const FIRST = { name: "first", said: [] };

test("where all have the same the first is read, and nothing is said", async () => {
  for (const word of ["now", shown(15), "lsn:16/B3002000"]) assert.deepEqual(await choose(word), FIRST, word);
  // Nothing was committed in it.
  await putJournal(second, { at: SEGMENT, bytes: randomBytes(4096) });
  assert.deepEqual(await choose("now"), FIRST);
});

test("now is read where the log goes furthest, and any other moment where the log has it", async () => {
  await putMore(second, 30, SEGMENT + 4096, SEGMENT + 65_536);
  assert.deepEqual(await choose("now"), {
    name: "second",
    said: [`'now' is read from repository 'second': it goes to ${shown(30)}, 'first' to ${shown(20)}`],
  });
  assert.deepEqual(await choose(shown(15)), FIRST);
  assert.deepEqual(await choose(shown(25)), {
    name: "second",
    said: [`'${shown(25)}' is read from repository 'second': 'first' does not have it`],
  });
  assert.equal((await choose("lsn:16/B3108000")).name, "second");
  // Nobody has it: where the nearest before it is newest, so that this is told.
  assert.equal((await choose(shown(40))).name, "second");
  assert.equal((await choose("now", { repository: "first" })).name, "first");
  assert.deepEqual(await choose([shown(15), shown(25)]), {
    name: "second",
    said: [`'${shown(25)}' is read from repository 'second': 'first' does not have it`],
  });
});

test("a longer log is not left for little that is newer, and where the first has more it is read", async () => {
  await putMore(first, 29.5, SEGMENT, SEGMENT + 32_768);
  assert.equal((await choose("now", { slackMs: 60_000, subject: "the log" })).name, "first");
  assert.equal((await choose("now", { slackMs: 20_000 })).name, "second");
  await putMore(first, 31, SEGMENT + 32_768, SEGMENT + 98_304);
  assert.deepEqual(await choose("now"), FIRST);
  configure("second", "first");
  assert.equal((await choose("now", { slackMs: 2 * HOUR })).name, "first", "it has more of both");
  configure("first", "second");
});

test("one that does not answer, or cannot be read, keeps nobody from what another has, and is said", async () => {
  configure("first", "gone", "second");
  const gone = /^repository 'gone' does not answer \(there is no repository.*\): whether it has more is not known$/;
  const { name, said } = await choose("now");
  assert.deepEqual([name, said.length], ["first", 1]);
  assert.match(said[0] ?? "", gone);
  assert.deepEqual((await found("now")).kinds, ["warning repository-not-asked"]);
  configure("gone", "second", "first");
  const other = await choose("now");
  assert.match(other.said[0] ?? "", /^repository 'gone' does not answer \(.*\): reading from 'first'$/);
  assert.match(other.said[1] ?? "", /^'now' is read from repository 'first': it goes to .*, 'second' to /);
  const { why, kinds, findings } = await found("now");
  assert.match(why ?? "", /^repository 'gone' does not answer \(.*\); it goes to .*, 'second' to /);
  assert.deepEqual(kinds, ["alarm repository-not-asked"]);
  assert.match(
    findings[0]?.message ?? "",
    /^repository 'gone' .*: what it has may be newer than what is read from 'first'$/,
  );
  // What the log has is the same wherever it is.
  for (const word of [shown(15), "lsn:16/B3002000"]) assert.deepEqual((await found(word)).findings, [], word);
  assert.deepEqual((await found(shown(40))).kinds, ["alarm repository-not-asked"]);
  assert.deepEqual((await found("now", { repository: "first" })).findings, []);
  configure("first", { name: "second", password: "wrong" });
  assert.match(
    (await choose("now")).said.join(),
    /^repository 'second' cannot be read \(.*password.*\): whether it has more/,
  );
  configure({ name: "first", password: "wrong" }, "second");
  await assert.rejects(choose("now"), (error) => isFailure(error, "repo/wrong-password"));
  configure("first", { name: "second", "password-command": "exec sleep 10000" });
  const late = await choose("now", { clock: { ...systemClock, sleep: async () => {} } });
  assert.deepEqual(late, {
    name: "first",
    said: ["repository 'second' has not answered in 20 s: whether it has more is not known"],
  });
  configure("gone", "away");
  await assert.rejects(choose("now"), (error) => isFailure(error, "repo/missing"));
  configure("first", "second");
});

test("the newest restore point is read where it is, unless it was forgotten by name", async () => {
  const [old, newer] = [NOW - 2 * DAY, NOW - DAY];
  const [point] = await Promise.all([first, second].map(async (repository) => await addPoint(repository, old)));
  assert.deepEqual(await choose("latest"), FIRST);
  const made = await addPoint(second, newer);
  const why = `it has one of ${formatInstant(newer)}, 'first' one of ${formatInstant(old)}`;
  assert.deepEqual(await choose("latest"), {
    name: "second",
    said: [`'latest' is read from repository 'second': ${why}`],
  });
  // A time that no log has means the newest point before it.
  assert.equal((await choose(formatInstant(newer + HOUR))).name, "second");
  assert.deepEqual(await choose(point ?? ""), FIRST);
  assert.equal((await choose(made)).name, "second");
  assert.equal((await choose(made.slice(0, 8))).name, "second");
  assert.deepEqual(await choose("0123abcd"), FIRST, "what nobody has is refused by the first");
  const dumped = await callCli(["--config", folder.at("chatkeep.yaml"), "dump", "latest", "manifest.json"], {
    cwd: folder.path,
  });
  assert.deepEqual([dumped.status, dumped.stdout], [0, formatInstant(newer)], dumped.stderr);
  assert.match(dumped.stderr, /^'latest' is read from repository 'second': /m);

  const listed = await callCli(["--config", folder.at("chatkeep.yaml"), "list"], { cwd: folder.path });
  assert.match(listed.stdout, /^ {2}That is what 'first' has. 'second' may have more: /m, listed.stderr);

  const copy = await addPoint(first, newer, { original: made });
  await forget(forgetting(reopen(first), { by: "name", words: [copy], installationId: LINE.installation }));
  assert.deepEqual(await choose("latest"), FIRST);
});

test("the last seconds of a log are left for newer files and configuration in an earlier repository, and that is told", async () => {
  const taken = await addPoint(first, NOW - HOUR);
  await putMore(second, 32, SEGMENT + 65_536, SEGMENT + 131_072);
  assert.deepEqual(await choose("now"), FIRST);
  const { kinds, findings } = await found("now");
  assert.deepEqual(kinds, ["warning repository-goes-further"]);
  const message = findings[0]?.message;
  assert.equal(
    message,
    `the log in 'second' goes to ${shown(32)}, and that in 'first', which is read, to ${shown(31)}`,
  );
  configure("second", "first");
  const later = await found("now");
  assert.deepEqual([later.name, later.kinds], ["second", ["warning repository-newer-point"]], "the first is not left");
  configure("first", "second");
  // Minutes are more than seconds.
  await putMore(second, 34, SEGMENT + 131_072, SEGMENT + 196_608);
  const most = await found("now");
  assert.deepEqual([most.name, most.kinds], ["second", ["warning repository-newer-point"]]);
  assert.match(
    most.findings[0]?.message ?? "",
    /^'first' has a restore point of .*, and 'second', which is read, none newer/,
  );
  assert.match(most.findings[0]?.hint ?? "", /restore latest --only storage --missing --repository first/);
  await addPoint(second, NOW - HOUR, { original: taken });
  const all = await found("now");
  assert.deepEqual([all.name, all.why, all.kinds], ["second", `it goes to ${shown(34)}, 'first' to ${shown(31)}`, []]);
});

test("a time before now counts from when it was said, however long opening takes", async () => {
  let ms = NOW + 16 * 60_000;
  // Each look at it takes a minute.
  const clock: Clock = { ...systemClock, now: () => (ms += 60_000) };
  const { opened, s } = await opening("-5m", { clock });
  assert.deepEqual(askedOf(opened, "-5m", s), { kind: "time", us: us(12) });
});

test("whoever is at the terminal may take their time for the first's password", async () => {
  const typed = folder.at("typed");
  configure(
    { name: "first", "password-command": `echo '${PASSWORD}'; touch '${typed}'` },
    { name: "second", "password-command": `test -e '${typed}' && echo '${PASSWORD}'` },
  );
  assert.deepEqual(await choose(shown(15), { person: NOBODY_ASKED }), FIRST);
  configure("first", "second");
});

async function nextToDrill(options?: { isMoment?: boolean }) {
  const globals = { config: folder.at("chatkeep.yaml"), repository: undefined };
  const quiet = { hide: () => {}, redact: <T>(value: T) => value, person: undefined, progress: silent };
  return (await openNextToDrill(globals, { ...quiet, signal, env: {}, cwd: folder.path, clock: systemClock }, options))
    .name;
}

test("a drill that chooses the repository names the one that has a fault", async () => {
  configure("first", { name: "second", password: "another password" });
  try {
    await assert.rejects(nextToDrill(), /^Failure: repository 'second': the password does not open/);
  } finally {
    configure("first", "second");
  }
});

async function prove(repository: Repository, ms: number, tags: string[] = []): Promise<void> {
  await addPoint(reopen(repository), ms, { proven: true, tags });
}

test("a moment by chance is drilled where one was proven longest ago, whatever was proven of points, and where there is a log", async () => {
  await newRepository(openLocalStore(folder.at("bare")));
  configure("bare", "first", "second");
  try {
    const moment = {
      us: us(15),
      systemId: LINE.systemId,
      timeline: 1,
      replayedTo: START,
      madeMs: NOW,
      upTo: undefined,
    };
    await prove(first, NOW + DAY);
    await prove(second, NOW + 2 * DAY);
    assert.equal(await nextToDrill(), "first");
    await prove(first, NOW - 2 * DAY, momentTags(moment));
    assert.equal(await nextToDrill({ isMoment: true }), "second", "there none was ever proven");
    await prove(second, NOW - DAY, momentTags(moment));
    assert.equal(await nextToDrill({ isMoment: true }), "first");
    await prove(first, NOW, momentTags(moment));
    assert.equal(await nextToDrill({ isMoment: true }), "second");
    assert.equal(await nextToDrill(), "first", "points take turns of their own");
  } finally {
    configure("first", "second");
  }
});
