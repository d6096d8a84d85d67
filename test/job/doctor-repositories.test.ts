import assert from "node:assert/strict";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { parseChunkId, parseSnapshotId } from "../../src/base/ids.ts";
import { type CopiedPoints, pointsLacking, pointsOwed } from "../../src/job/copy.ts";
import {
  copyFindings,
  kitFindings,
  othersMay,
  passwordFindings,
  permissionFindings,
} from "../../src/job/doctor-repositories.ts";
import type { Point } from "../../src/job/points.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const ID = "6f1c0d5e-9a77-4d0e-8f2b-3f6f5b1c2d3e";
const HERE = { installationId: ID, nowMs: Date.parse("2026-01-10T12:00:00Z") };

function point(day: number, installationId = ID): Point {
  const id = parseSnapshotId(String(day).padStart(64, "0"));
  const time = `2026-01-${String(day).padStart(2, "0")}T00:00:00Z`;
  return {
    id,
    snapshotId: id,
    snapshot: { time, tree: parseChunkId("a".repeat(64)), paths: ["/chatkeep"] },
    installationId,
    takenAtMs: Date.parse(time),
    proof: undefined,
    notWhole: undefined,
    shrunk: undefined,
    holds: [],
  };
}

test("files with secrets that others can read, and folders that they can change, are named", async () => {
  await using folder = await temporaryFolder();
  const files = ["config", "password", "env"].map((name) => folder.at(name));
  for (const file of files) writeFileSync(file, "NAME=secret");
  mkdirSync(folder.at("repository"));
  const [config = "", password = "", env = ""] = files;
  const repositories = [
    { name: "a", location: `local:${folder.at("repository")}`, "password-file": password, "env-file": env },
    { name: "b", location: "s3:https://s3.example/bucket" },
  ];
  const modes = async (file: number, place: number) => {
    for (const path of files) chmodSync(path, file);
    chmodSync(folder.at("repository"), place);
    return (await permissionFindings(config, repositories)).map(({ kind }) => kind);
  };
  assert.deepEqual(await modes(0o600, 0o755), []);
  assert.deepEqual(
    await modes(0o640, 0o700),
    Array.from({ length: 3 }, () => "readable-by-others"),
  );
  assert.deepEqual(await modes(0o600, 0o770), ["writable-by-others"]);
  const odd = folder.at("pass word");
  writeFileSync(odd, "secret", { mode: 0o644 });
  chmodSync(odd, 0o644);
  const [finding] = await permissionFindings(odd, []);
  assert.equal(finding?.hint, `Run: chmod 600 '${odd}'`);
});

test("who reads a file that is not his by its group is not told to shut the group out", () => {
  for (const [right, mode, uid, ownUid, expected] of [
    [0o4, 0o640, 1000, 1000, true],
    [0o4, 0o640, 0, 0, true],
    // A Secret in a pod: root's, for the group of the pod.
    [0o4, 0o440, 0, 10_027, false],
    [0o4, 0o444, 0, 10_027, true],
    [0o2, 0o2775, 0, 10_027, false],
    [0o2, 0o777, 0, 10_027, true],
    [0o2, 0o770, 10_027, 10_027, true],
    // Root reads everything anyway.
    [0o4, 0o640, 1000, 0, true],
  ] as const) {
    assert.equal(othersMay(right, { mode, uid }, ownUid), expected, `${mode.toString(8)} of ${uid} for ${ownUid}`);
  }
});

test("lines of a file with credentials that say nothing are told by number, and never shown", async () => {
  await using folder = await temporaryFolder();
  writeFileSync(folder.at("env"), "AWS_ACCESS_KEY_ID=one\nAWS_SECRET_ACCESS_KEY s3cret-words\n", { mode: 0o600 });
  const [finding] = await permissionFindings(folder.at("config"), [
    { name: "a", location: "s3:https://s3.example/bucket", "env-file": folder.at("env") },
  ]);
  assert.deepEqual([finding?.kind, finding?.level], ["env-file-lines", "note"]);
  assert.equal(finding?.message, `line 2 of ${folder.at("env")} says nothing: no NAME=value, and no comment`);
  assert.doesNotMatch(JSON.stringify(finding), /s3cret/);
});

test("a password that lies here alone is told, with the kit that is to be printed; one from elsewhere is not", () => {
  const opened = { config: { id: "a".repeat(64) }, keyId: "b".repeat(64) } as Pick<Repository, "config" | "keyId">;
  const known = { name: "primary", location: "/var/backups" };
  assert.deepEqual(kitFindings(known, opened, "/etc/chatkeep/kit.html"), [], "a command, or the environment");
  const [file] = kitFindings({ ...known, "password-file": "/etc/p" }, opened, "/etc/chatkeep/kit.html");
  assert.deepEqual([file?.kind, file?.level, file?.subject], ["kit-not-kept", "warning", "aaaaaaaa-bbbbbbbb"]);
  assert.match(file?.hint ?? "", /^Print \/etc\/chatkeep\/kit\.html, delete it, .*'chatkeep ack kit-not-kept'/);
  const [inline] = kitFindings({ ...known, password: "secret-words" }, opened, undefined);
  assert.match(inline?.hint ?? "", /^Make a recovery kit/);
  assert.doesNotMatch(JSON.stringify(inline), /secret-words/);
});

test("a password that two repositories share, or that is a name of the configuration, is told without telling it", () => {
  const passwords = new Map([
    ["primary", "Acme"],
    ["offsite", "same-as-other"],
    ["usb", "same-as-other"],
    ["good", "ytq4-8f2m"],
  ]);
  const findings = passwordFindings(passwords, ["acme", "primary", "offsite"]);
  assert.deepEqual(
    findings.map(({ kind }) => kind),
    ["password-is-a-name", "password-shared"],
  );
  assert.match(findings[1]?.message ?? "", /'offsite', 'usb'/);
  for (const text of findings.flatMap(({ message, hint }) => [message, hint]))
    for (const password of passwords.values()) assert.ok(!text.includes(password), text);
});

test("a repository that lacks the newest points is named with the command that mends it", () => {
  const findings = copyFindings(
    new Map([
      ["primary", having([point(1), point(2)])],
      ["offsite", having([point(1), point(2), point(4), point(3)])],
      ["same", having([point(4)])],
      ["forgot", having([point(1), point(2)], point(3), point(4))],
      ["new", having([])],
    ]),
    HERE,
  );
  assert.deepEqual(
    findings.map(({ kind, message }) => [kind, message]),
    [["copy-behind", "repository 'primary' lacks the newest 2 restore points of 'offsite'"]],
  );
  assert.match(findings[0]?.hint ?? "", /chatkeep copy --repository offsite --to primary/);
});

function having(points: readonly Point[], ...forgotten: Point[]): CopiedPoints {
  return { points, forgotten: new Set(forgotten.map(({ id }) => id)), failed: new Set() };
}

/** The same, where these could not be read whole when they were to come. */
function failing(copied: CopiedPoints, ...failed: Point[]): CopiedPoints {
  return { ...copied, failed: new Set(failed.map(({ id }) => id)) };
}

function days(points: readonly Point[]): number[] {
  return points.map(({ takenAtMs }) => new Date(takenAtMs).getUTCDate());
}

test("what a copy lacks is newer than all that it has: what was taken out of it does not come back", () => {
  const all = [point(1), point(2), point(3), point(4, "another")];
  assert.deepEqual(days(pointsLacking(all, having([]), HERE)), [1, 2, 3]);
  assert.deepEqual(days(pointsLacking(all, having([point(2)]), HERE)), [3]);
  assert.deepEqual(days(pointsLacking(all, having([point(9, "another")]), HERE)), [1, 2, 3]);
  assert.deepEqual(days(pointsLacking(all, having([point(1)], point(2)), HERE)), [3]);
});

test("what could not be copied is lacking until it is there, however new what went through is", () => {
  const all = [point(1), point(2), point(3)];
  assert.deepEqual(days(pointsLacking(all, failing(having([point(1), point(3)]), point(2)), HERE)), [2]);
  assert.deepEqual(days(pointsLacking(all, failing(having(all), point(2)), HERE)), []);
  assert.deepEqual(days(pointsLacking(all, failing(having([point(3)], point(2)), point(2)), HERE)), [], "forgotten");
  const owed = [without(point(3)), without(point(4))];
  const away = { ...HERE, name: "primary" };
  assert.deepEqual(days(pointsOwed(owed, failing(having([without(point(4))]), point(3)), away)), [3]);
  const findings = copyFindings(
    new Map([
      ["primary", having([point(2), point(3), point(4)])],
      ["offsite", failing(having([point(3)]), point(2))],
    ]),
    HERE,
  );
  assert.deepEqual(
    findings.map(({ message }) => message),
    [
      `repository 'offsite' lacks 1 restore point that 'primary' did not give whole: ${point(2).id.slice(0, 8)}`,
      "repository 'offsite' lacks the newest 1 restore point of 'primary'",
    ],
  );
  assert.match(findings[0]?.hint ?? "", /chatkeep --repository primary repair packs --from NAME/);
});

function without(one: Point, name = "primary"): Point {
  return { ...one, snapshot: { ...one.snapshot, tags: [`without=${name}`] } };
}

function copied(one: Point): Point {
  return { ...one, snapshotId: parseSnapshotId("c".repeat(64)) };
}

test("what was made without a repository comes to it, but for what was taken out of it since, or made by others", () => {
  const away = { ...HERE, name: "primary" };
  const made = [without(point(3)), without(point(4)), without(point(5), "another")];
  const all = [copied(point(1)), copied(point(2)), ...made, point(6)];
  assert.deepEqual(days(pointsOwed(all, having([point(1), point(2)]), away)), [3, 4]);
  // A newer point of its own is no sign that they were brought, one of them is.
  assert.deepEqual(days(pointsOwed(all, having([point(1), point(7)]), away)), [3, 4]);
  assert.deepEqual(days(pointsOwed(all, having([without(point(3)), point(7)]), away)), [4]);
  assert.deepEqual(days(pointsOwed(all, having([without(point(4))]), away)), []);
  assert.deepEqual(days(pointsOwed(all, having([point(1)], point(4)), away)), [3]);
  // What comes from it is copied after all this was done: then it lacks them because somebody forgot them.
  assert.deepEqual(days(pointsOwed([...all, copied(point(7))], having([point(7)]), away)), []);
  assert.deepEqual(
    days(pointsOwed([...all, copied(point(25))], having([point(1)]), away)),
    [3, 4],
    "from a clock that is ahead",
  );
  assert.deepEqual(days(pointsOwed([without(point(8, "another"))], having([]), away)), []);
});

test("a point that a wrong clock put into the future keeps no later one from being copied, nor hides that it lacks", () => {
  const ahead = point(25);
  const all = [point(8), point(9), point(10), ahead];
  assert.deepEqual(days(pointsLacking(all, having([point(8), ahead]), HERE)), [9, 10]);
  // It is copied itself, as every other.
  assert.deepEqual(days(pointsLacking(all, having([point(9)]), HERE)), [10, 25]);
  const findings = copyFindings(
    new Map([
      ["primary", having(all)],
      ["offsite", having([point(8), ahead])],
    ]),
    HERE,
  );
  assert.deepEqual(
    findings.map(({ message }) => message),
    ["repository 'offsite' lacks the newest 2 restore points of 'primary'"],
  );
});
