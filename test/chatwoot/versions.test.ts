import assert from "node:assert/strict";
import { test } from "node:test";
import { compareSchema, compareVersions, identifySchema, parseAppVersion } from "../../src/chatwoot/versions.ts";
import { readReleases } from "../../src/installation/releases.ts";

const known = await readReleases();

function migrationsOf(tag: string): string[] {
  return known.migrations
    .filter((migration) => compareVersions(migration.first, tag) <= 0 && compareVersions(migration.last, tag) >= 0)
    .map((migration) => migration.version);
}

test("each release is recognised by the migrations of a fresh installation of it", () => {
  for (const release of known.releases.filter(({ tag }) => compareVersions(tag, "v1.0.0") >= 0)) {
    const identity = identifySchema([...migrationsOf(release.tag), release.schemaVersion], known);
    assert.ok(identity.releases.includes(release.tag), `${release.tag}: ${identity.releases.join(" ")}`);
    assert.equal(identity.isFork, false);
  }
});

test("an installation that came all the way from the first release is recognised, too", () => {
  const identity = identifySchema(
    known.migrations.map((migration) => migration.version),
    known,
  );
  assert.ok(identity.releases.includes("v4.15.1"));
  assert.deepEqual([identity.foreign, identity.newer, identity.pending], [[], [], []]);
});

test("a fork is told by migrations that upstream never had, whatever its number", () => {
  const identity = identifySchema([...migrationsOf("v4.15.1"), "20250101000001"], known);
  assert.equal(identity.isFork, true);
  assert.deepEqual(identity.foreign, ["20250101000001"]);
  assert.ok(identity.releases.includes("v4.15.1"));
});

test("a release that is newer than every known one is told", () => {
  const identity = identifySchema([...migrationsOf("v4.15.1"), "20991231000000"], known);
  assert.deepEqual(
    [identity.newer, identity.isFork, identity.schemaVersion],
    [["20991231000000"], false, "20991231000000"],
  );
});

test("an upgrade that stopped half-way is told", () => {
  const [left] = migrationsOf("v4.15.1").slice(-3);
  const identity = identifySchema(
    migrationsOf("v4.15.1").filter((version) => version !== left),
    known,
  );
  assert.deepEqual(identity.pending, [left]);
});

test("what runs is compared with what ran in the database", () => {
  const all = migrationsOf("v4.15.1");
  const [last = ""] = all.slice(-1);
  assert.deepEqual(compareSchema(all, "4.15.1", known), { lacking: [], ahead: [] });
  assert.deepEqual(compareSchema(all.slice(0, -1), "4.15.1", known), { lacking: [last], ahead: [] });
  const older = compareSchema(all, "4.9.0", known);
  assert.deepEqual([older?.lacking, older?.ahead.includes(last)], [[], true]);
  // What was squashed since is lacking in no new installation, and no fault in one that came all the way.
  const whole = known.migrations.map((migration) => migration.version);
  assert.deepEqual(compareSchema(whole, "4.15.1", known), { lacking: [], ahead: [] });
  assert.equal(compareSchema(all, "9.9.9", known), undefined);
  assert.equal(compareSchema([...all, "20250101000001"], "4.15.1", known), undefined, "a fork's");
});

test("no migrations at all identify nothing", () => {
  const identity = identifySchema([], known);
  assert.deepEqual([identity.schemaVersion, identity.releases, identity.isFork], [undefined, [], false]);
});

test("the application's own version is read from its app.yml", () => {
  assert.equal(parseAppVersion("shared: &shared\n  version: '4.15.1'\n\ndevelopment:\n  <<: *shared\n"), "4.15.1");
  assert.equal(parseAppVersion('shared:\n  # a comment\n\n  name: x\n  version: "4.9.0-ce"\n'), "4.9.0-ce");
  assert.equal(parseAppVersion("shared: &shared\r\n  version: 3.1.0\r\n"), "3.1.0");
  assert.equal(parseAppVersion("production:\n  version: '1.0.0'\n"), undefined);
  assert.equal(parseAppVersion(""), undefined);
});

test("versions are compared as numbers", () => {
  assert.ok(compareVersions("v4.9.0", "4.10.0") < 0);
  assert.equal(compareVersions("v4.15.1", "4.15.1"), 0);
  assert.ok(compareVersions("4.15.1", "4.15") > 0);
});
