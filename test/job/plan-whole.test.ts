import assert from "node:assert/strict";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Finding } from "../../src/base/findings.ts";
import type { Installation } from "../../src/installation/installation.ts";
import type { Manifest } from "../../src/point/manifest.ts";
import { otherPlace } from "../../src/job/plan-whole.ts";
import { afterDamageFindings } from "../../src/job/restore-findings.ts";
import {
  listRestores,
  refuseUnfinished,
  removeRestoreFolder,
  restoreFindings,
} from "../../src/job/restore-journals.ts";
import { refuseOtherPlace } from "../../src/job/restore-whole.ts";
import { Journal, journalFile, type JournalState, type JournalValue } from "../../src/job/stages/journal.ts";
import type { Place } from "../../src/job/stages/stage.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const OF_ACME = { installation: { id: "acme-id", name: "acme", kind: "linux-vm" } } as const;

function placeOf(environment: Readonly<Record<string, string>>, other: Partial<Installation> = {}): Place {
  const installation = { kind: "manual", environment: new Map(Object.entries(environment)), ...other };
  return {
    installation: installation as unknown as Installation,
    address: { host: "localhost", port: 5432, user: "chatwoot", database: "chatwoot_production" },
  };
}

function env(url: string | undefined): Record<string, string> {
  return url === undefined ? {} : { FRONTEND_URL: url };
}

function verdict(saved: string | undefined, here: string | undefined, ownId?: string) {
  return otherPlace(OF_ACME, new Map(Object.entries(env(saved))), {
    place: placeOf(env(here)),
    own: ownId === undefined ? undefined : { id: ownId, name: "staging" },
  });
}

test("a place is another one by its address or by the installation that it is configured as", () => {
  assert.equal(verdict("https://chat.acme.example", "https://chat.acme.example", "acme-id"), null);
  assert.equal(verdict("https://Chat.acme.example/", " https://chat.acme.example "), null);
  assert.equal(verdict(undefined, "https://chat.acme.example"), null);
  assert.equal(verdict("https://chat.acme.example", ""), null);
  assert.equal(
    verdict("https://chat.acme.example", "https://staging.acme.example:8443")?.name,
    "staging.acme.example:8443",
  );
  assert.equal(verdict("https://chat.acme.example", "http://chat.acme.example")?.name, "chat.acme.example");
  assert.equal(verdict("https://chat.acme.example", "https://chat.acme.example", "other-id")?.name, "staging");
  assert.equal(verdict("https://chat.acme.example", "https://b.example", "other-id")?.why.length, 2);
});

const VALUE: Omit<JournalValue, "schema" | "state" | "id"> = {
  program: "chatkeep 0",
  beganAt: "2026-03-01T02:03:04.000Z",
  point: "a".repeat(64),
  snapshot: "b".repeat(64),
  takenAt: "2026-03-01T01:00:00.000Z",
  installation: { id: "acme-id", name: "acme" },
  repository: "primary",
  parts: ["database"],
  options: { withRoles: false, storage: undefined, migrate: false, outbound: "ask", clone: undefined },
  place: { kind: "manual", root: "/srv/chatwoot", database: "chatwoot_production" },
  stages: [
    { name: "stop", state: "done", seconds: 1 },
    { name: "database", state: "begun", seconds: 1 },
  ],
};

async function remember(home: string, id: string, state: JournalState): Promise<void> {
  const journal = await Journal.begin(journalFile(join(home, id)), { ...VALUE, id });
  await journal.set({ state });
}

test("an unfinished restore refuses a second one, and is told with what to do; one that is through does not", async () => {
  await using folder = await temporaryFolder();
  const home = folder.at("restore");
  await refuseUnfinished(home);
  await remember(home, "20260301T020304Z-aaaaaaaa", "done");
  await mkdir(join(home, "20260302T020304Z-killed-before-it-began"));
  await refuseUnfinished(home);
  assert.deepEqual(await restoreFindings(home), []);
  await remember(home, "20260303T020304Z-aaaaaaaa", "restoring");
  await assert.rejects(refuseUnfinished(home), {
    code: "restore/unfinished",
    message:
      "the restore of restore point aaaaaaaa, begun 2026-03-01T02:03:04.000Z, is not finished: it stands at 'database'",
  });
  const [finding] = await restoreFindings(home);
  assert.equal(finding?.kind, "restore-unfinished");
  const { restores } = await listRestores(home);
  assert.deepEqual(
    restores.map(({ id }) => id),
    ["20260303T020304Z-aaaaaaaa", "20260301T020304Z-aaaaaaaa"],
  );
  await remember(home, "20260303T020304Z-aaaaaaaa", "undoing");
  await assert.rejects(refuseUnfinished(home), {
    code: "restore/unfinished",
    hint: "'chatkeep rollback' goes on with it.",
  });
  for (const { folder: one } of restores) await removeRestoreFolder(one);
  assert.deepEqual((await listRestores(home)).restores, []);
});

test("a journal that cannot be read keeps a restore from beginning, and no backup", async () => {
  await using folder = await temporaryFolder();
  const home = folder.at("restore");
  await remember(home, "one", "restoring");
  await writeFile(join(home, "one", "journal.json"), "{");
  await assert.rejects(refuseUnfinished(home), { code: "restore/record" });
  const [finding] = await restoreFindings(home);
  assert.equal(finding?.kind, "restore-record-unreadable");
  const { unreadable } = await listRestores(home);
  for (const { folder: one } of unreadable) await removeRestoreFolder(one);
  assert.deepEqual(await readdir(home), []);
});

test("what was begun in one place is neither gone on with nor undone in another", () => {
  const root = "/srv/chatwoot";
  refuseOtherPlace(VALUE, placeOf({}, { root }));
  refuseOtherPlace(VALUE, placeOf({ FRONTEND_URL: "https://chat.acme.example" }, { root }));
  for (const [other, said] of [
    [{ root: "/srv/other" }, /its folder was '\/srv\/chatwoot' and is '\/srv\/other' now/],
    [{ root, kind: "linux-vm" }, /its kind was 'manual'/],
    [{ root, choice: { project: "b" } }, /its project or container was 'none' and is 'b' now/],
  ] as const) {
    assert.throws(() => refuseOtherPlace(VALUE, placeOf({}, other)), { code: "target/unsuitable", message: said });
  }
});

function foundAtBackup(kind: string, level: "alarm" | "warning" | "note"): Finding[] {
  return afterDamageFindings({
    findings: [{ kind, level, message: `${kind} was seen`, hint: "" }],
  } as unknown as Manifest);
}

test("a point that was made when something had gone wrong already is told; what somebody acknowledged, and other findings, are not", () => {
  assert.deepEqual(
    foundAtBackup("shrunk", "alarm").map(({ kind, level, message }) => ({ kind, level, message })),
    [
      {
        kind: "point-after-damage",
        level: "warning",
        message: "something had gone wrong already when this restore point was made: shrunk was seen",
      },
    ],
  );
  assert.equal(foundAtBackup("restore-unfinished", "warning").length, 1);
  assert.deepEqual(foundAtBackup("shrunk", "note"), []);
  assert.deepEqual(foundAtBackup("disk-low", "warning"), []);
});
