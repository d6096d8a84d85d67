import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Disk,
  type DiskUser,
  lowDiskFindings,
  placeFindings,
  readDisks,
  repositoryUsers,
  roomFindings,
} from "../../src/job/disks.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const GIB = 1024 ** 3;
const CHATWOOT: DiskUser[] = [
  { what: "PostgreSQL", path: "/var/lib/postgresql/16/main", role: "chatwoot" },
  { what: "Redis", path: "/var/lib/redis", role: "chatwoot" },
];
const [REPOSITORY] = repositoryUsers([
  { name: "primary", location: "local:/var/backups" },
  { name: "offsite", location: "s3:https://s3.example/bucket" },
]);
assert.ok(REPOSITORY);

function disk(freeBytes: number, users: DiskUser[], others: Partial<Disk> = {}): Disk {
  return { device: 1, isElsewhere: false, freeBytes, sizeBytes: 100 * GIB, filesFree: 0.5, users, ...others };
}

function levels(...disks: Disk[]): string[] {
  return lowDiskFindings(disks).map(({ level }) => level);
}

test("a disk is low below 5 GiB or a tenth, and full where packs leave the rest to others", () => {
  assert.deepEqual(levels(disk(5 * GIB, CHATWOOT), disk(GIB, CHATWOOT, { sizeBytes: 10 * GIB })), []);
  assert.deepEqual(levels(disk(4.9 * GIB, CHATWOOT), disk(0.9 * GIB, CHATWOOT, { sizeBytes: 10 * GIB })), [
    "warning",
    "warning",
  ]);
  assert.deepEqual(levels(disk(0.4 * GIB, CHATWOOT), disk(0.1 * GIB, CHATWOOT, { sizeBytes: 10 * GIB })), [
    "alarm",
    "alarm",
  ]);
  assert.deepEqual(levels(disk(50 * GIB, CHATWOOT, { filesFree: 0.02 })), ["warning"]);
  // Some file systems make room for files as they need it.
  assert.deepEqual(levels(disk(50 * GIB, CHATWOOT, { filesFree: undefined })), []);
});

test("who shares a disk is named, with what fails when it is full, and how to make room", () => {
  const [shared] = lowDiskFindings([disk(0.1 * GIB, [REPOSITORY, ...CHATWOOT])]);
  assert.equal(shared?.message, "the disk of repository 'primary', PostgreSQL and Redis has 102 MiB of 100 GiB free");
  assert.match(shared?.hint ?? "", /^A backup writes nothing more there\. .*Redis refuses writes.*chatkeep prune/);
  const [alone] = lowDiskFindings([disk(GIB, [REPOSITORY])]);
  assert.doesNotMatch(alone?.hint ?? "", /Redis|writes nothing/);
  const [files] = lowDiskFindings([disk(50 * GIB, CHATWOOT, { filesFree: 0.02 })]);
  assert.match(files?.message ?? "", /PostgreSQL and Redis has room for 2 % of its files only$/);
  // The same disk is the same finding tomorrow, until it is full.
  const subjects = [GIB, 2 * GIB, 0.1 * GIB].map((free) => lowDiskFindings([disk(free, [REPOSITORY])])[0]?.subject);
  assert.equal(subjects[0], subjects[1]);
  assert.notEqual(subjects[0], subjects[2]);
});

test("folders of one disk are told together, and what is not there is on none", async () => {
  await using folder = await temporaryFolder();
  const disks = await readDisks([
    { what: "a", path: folder.path, role: "own" },
    { what: "b", path: "/proc", role: "own" },
    { what: "c", path: folder.at("nowhere"), role: "own" },
    { what: "d", path: folder.path, role: "own" },
    { what: "a", path: folder.path, role: "own" },
  ]);
  assert.deepEqual(
    disks.map(({ users }) => users.map(({ what }) => what)),
    [["a", "d"], ["b"]],
  );
  assert.ok((disks[0]?.freeBytes ?? 0) > 0);
});

test("a first backup that has no room is told; a repository that holds points is not judged", () => {
  const own = disk(9 * GIB, [REPOSITORY, ...CHATWOOT]);
  const told = (empty: string[], bytes: number) => roomFindings([own], empty, bytes).map(({ message }) => message);
  assert.deepEqual(told(["primary"], 8.5 * GIB), []);
  assert.deepEqual(told(["primary"], 9 * GIB), [
    "the disk of repository 'primary' has 9.0 GiB free, and the uploaded files alone are 9.0 GiB",
  ]);
  assert.deepEqual(told([], 90 * GIB), []);
});

test("restore points that would be lost with what they were made of are told, unless one place is elsewhere", () => {
  const locals = [
    { name: "primary", location: "/var/backups" },
    { name: "usb", location: "local:/mnt/usb" },
  ];
  const [primary, usb] = repositoryUsers(locals);
  assert.ok(primary && usb);
  const told = (repositories: typeof locals, ...disks: Disk[]) =>
    placeFindings(repositories, disks).map(({ kind, level, message }) => `${level} ${kind}: ${message}`);
  assert.deepEqual(told(locals, disk(9 * GIB, [primary, ...CHATWOOT]), disk(9 * GIB, [usb], { device: 2 })), [
    "warning same-machine: every restore point lies on this machine, in repositories 'primary' and 'usb'",
  ]);
  // A name that is taken would be refused.
  for (const [name, other] of [
    ["primary", "offsite"],
    ["offsite", "elsewhere"],
  ] as const) {
    const [finding] = placeFindings([{ name, location: "/srv/backups" }], []);
    assert.match(finding?.hint ?? "", new RegExp(`'chatkeep init --add ${other}'`));
  }
  const [one] = locals;
  assert.ok(one);
  const shared = disk(9 * GIB, [primary, ...CHATWOOT]);
  assert.deepEqual(told([one], shared), [
    "warning same-disk: every restore point lies in repository 'primary', on the same disk as PostgreSQL and Redis",
  ]);
  assert.deepEqual(told([one, { name: "offsite", location: "sftp:backup@nas:/srv" }], shared), []);
  // A share of a server that is mounted here.
  assert.deepEqual(told(locals, shared, disk(9 * GIB, [usb], { device: 2, isElsewhere: true })), []);
  assert.deepEqual(told([], shared), []);
});
