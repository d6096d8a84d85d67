import assert from "node:assert/strict";
import { test } from "node:test";
import { knownNeed, lackingOf, lookForRoom, roomFindings, type RoomNeed } from "../../src/job/room.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const MIB = 1024 ** 2;
const DATABASE: RoomNeed = {
  what: "the database",
  path: "/var/lib/postgresql/15/main",
  bytes: 40 * MIB,
  leastBytes: 10 * MIB,
  alone: { kind: "server-disk-too-small", level: "warning", message: "the server's disk", hint: "Make room." },
};
const FILES = knownNeed("uploaded files", "/srv/storage", 30 * MIB);

test("what shares a disk must fit on it together, though each would fit alone", () => {
  const together = (freeBytes: number) => roomFindings([{ freeBytes, needs: [DATABASE, FILES] }], "Make room.");
  assert.deepEqual(together(70 * MIB), []);
  const [warned] = together(69 * MIB);
  assert.equal(warned?.level, "warning");
  assert.equal(
    warned.message,
    "one disk has 69.0 MiB free, and will take the database in '/var/lib/postgresql/15/main' (about 40.0 MiB) and uploaded files in '/srv/storage' (30.0 MiB): 1.0 MiB may be lacking",
  );
  const [blocked] = together(39 * MIB);
  assert.equal(blocked?.level, "alarm");
  assert.match(blocked.message, /: 31\.0 MiB are lacking$/);
  // On a disk each, both fit.
  const each = [DATABASE, FILES].map((need) => ({ freeBytes: 40 * MIB, needs: [need] }));
  assert.deepEqual(roomFindings(each, "Make room."), []);
});

function alone(need: RoomNeed, freeBytes: number) {
  return roomFindings([{ freeBytes, needs: [need] }], "Make room.");
}

test("what is alone on its disk is told by itself, in its own words where it has some", () => {
  assert.deepEqual(
    alone(DATABASE, 39 * MIB).map(({ kind }) => kind),
    ["server-disk-too-small"],
  );
  assert.equal(
    lackingOf({ freeBytes: MIB, needs: [FILES] }),
    "'/srv/storage' has 1.0 MiB free, and uploaded files will take 30.0 MiB: 29.0 MiB are lacking",
  );
  assert.deepEqual(
    alone(FILES, MIB).map(({ kind, level }) => [kind, level]),
    [["disk-too-small", "alarm"]],
  );
});

test("folders of one device are one disk, also those that are to be made, and the same folder counts once for each", async () => {
  await using folder = await temporaryFolder();
  const [storage, code] = [folder.at("new", "storage"), folder.path];
  const disks = await lookForRoom([
    knownNeed("uploaded files", storage, 3),
    knownNeed("uploaded files", storage, 4),
    knownNeed("the code", code, 5),
    knownNeed("nothing", "/proc", 0),
    knownNeed("the kernel's", "/proc", 1),
  ]);
  assert.deepEqual(
    disks.map(({ needs }) => needs.map(({ what, bytes }) => `${what} ${bytes}`)),
    [["uploaded files 7", "the code 5"], ["the kernel's 1"]],
  );
  assert.ok((disks[0]?.freeBytes ?? 0) > 0);
});
