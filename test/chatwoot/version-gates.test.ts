import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type CodeFacts,
  type GateVerdict,
  judgeVersions,
  type SavedDatabase,
} from "../../src/chatwoot/version-gates.ts";
import { compareVersions } from "../../src/chatwoot/versions.ts";
import { readReleases } from "../../src/installation/releases.ts";

const known = await readReleases();

/** What ran in a fresh database of a release. */
function migrationsOf(version: string): string[] {
  const tag = `v${version}`;
  const own = known.migrations.filter(
    ({ first, last }) => compareVersions(first, tag) <= 0 && compareVersions(last, tag) >= 0,
  );
  assert.ok(own.length > 0, tag);
  return own.map((migration) => migration.version);
}

interface Case {
  point: string;
  code: string;
  migrate?: boolean;
  hasUsers?: boolean;
  canHaveVector?: boolean;
  applied?: string[];
  facts?: Partial<CodeFacts>;
}

function judge({
  point,
  code,
  migrate = false,
  hasUsers = true,
  canHaveVector = true,
  applied,
  facts = {},
}: Case): GateVerdict {
  const saved: SavedDatabase = {
    applied: applied ?? migrationsOf(point),
    version: point,
    hasUsers,
    hasVector: compareVersions(point, "4.0.0") >= 0,
    code: undefined,
  };
  const running = {
    version: code,
    migrations: undefined,
    isSameMake: true,
    isUpstreams: false,
    what: `Chatwoot ${code}`,
    ...facts,
  };
  return judgeVersions(saved, running, { known, migrate, canHaveVector });
}

function said(one: Case): string {
  const { relation, blockers, findings } = judge(one);
  return [relation, ...[...blockers, ...findings].map(({ kind }) => kind)].join(" ");
}

test("the same version fits, whichever", () => {
  for (const version of ["2.16.0", "3.5.2", "3.16.0", "4.0.4", "4.1.0", "4.15.1"]) {
    assert.equal(said({ point: version, code: version }), "same", version);
  }
});

test("a database of a newer Chatwoot is refused, with the version to install (F19)", () => {
  assert.equal(said({ point: "4.15.1", code: "4.9.0" }), "code-older code-too-old");
  assert.equal(said({ point: "4.15.1", code: "4.9.0", migrate: true }), "code-older code-too-old");
  const { blockers } = judge({ point: "4.15.1", code: "4.9.0" });
  assert.match(blockers[0]?.message ?? "", /Chatwoot 4\.15\.1.* has \d+ migrations .*cannot go back/);
  assert.match(blockers[0]?.hint ?? "", /Install Chatwoot 4\.15\.1 here/);
});

test("newer code needs --migrate, and is let through with it", () => {
  assert.equal(said({ point: "4.9.0", code: "4.15.1" }), "code-newer code-newer");
  assert.equal(said({ point: "4.9.0", code: "4.15.1", migrate: true }), "code-newer");
  assert.equal(judge({ point: "4.9.0", code: "4.15.1", migrate: true }).lacking.length > 3, true);
});

test("2.16 and older go by 3.5.2, whether or not anybody asks for migrations (F18)", () => {
  for (const migrate of [false, true]) {
    assert.equal(said({ point: "2.16.0", code: "3.16.0", migrate }), "code-newer upgrade-in-steps");
    assert.equal(said({ point: "2.16.0", code: "4.15.1", migrate }), "code-newer upgrade-in-steps");
  }
  assert.equal(said({ point: "2.16.0", code: "3.5.2", migrate: true }), "code-newer");
  assert.equal(said({ point: "2.17.0", code: "3.16.0", migrate: true }), "code-newer");
  assert.match(judge({ point: "2.16.0", code: "3.16.0" }).blockers[0]?.hint ?? "", /3\.5\.2/);
});

test("3.x and 4.0 with users go by 4.1.0, and without any at once (F17)", () => {
  for (const point of ["2.17.0", "3.16.0", "4.0.4"]) {
    assert.equal(said({ point, code: "4.2.0", migrate: true }), "code-newer upgrade-in-steps", point);
    assert.equal(said({ point, code: "4.15.1", migrate: true }), "code-newer upgrade-in-steps", point);
    assert.equal(said({ point, code: "4.1.0", migrate: true }), "code-newer", point);
    assert.equal(said({ point, code: "4.15.1", migrate: true, hasUsers: false }), "code-newer", point);
  }
  assert.equal(said({ point: "4.1.0", code: "4.15.1", migrate: true }), "code-newer");
});

test("4.0 and newer need pgvector on the server, which an older database does not have (F7)", () => {
  const jump = { point: "3.16.0", code: "4.1.0", migrate: true };
  assert.equal(said({ ...jump, canHaveVector: false }), "code-newer pgvector-needed");
  assert.equal(said({ ...jump, code: "3.16.0", canHaveVector: false }), "same");
  assert.equal(said({ point: "4.9.0", code: "4.15.1", migrate: true, canHaveVector: false }), "code-newer");
});

test("a database that came all the way from the first release fits the newest", () => {
  const applied = known.migrations.map(({ version }) => version);
  assert.equal(said({ point: "4.15.1", code: "4.15.1", applied }), "same");
});

test("a fork is told by its set of migrations: upstream's code of the same number does not run it", () => {
  const applied = [...migrationsOf("4.14.0"), "20260101000001"];
  const facts = { isSameMake: false, isUpstreams: true, what: "the image chatwoot/chatwoot:v4.14.0" };
  assert.equal(said({ point: "4.14.0", code: "4.14.0", applied, facts }), "other-fork code-of-another-fork");
  const strange = { isSameMake: false, what: "the image of somebody" };
  assert.equal(said({ point: "4.14.0", code: "4.14.0", applied, facts: strange }), "unknown code-unknown");
  assert.equal(said({ point: "4.14.0", code: "4.14.0", applied }), "same", "another tag of the fork's own image");
  const listed = { migrations: migrationsOf("4.14.0") };
  assert.equal(said({ point: "4.14.0", code: "4.14.0", applied, facts: listed }), "other-fork code-of-another-fork");
  assert.equal(said({ point: "4.14.0", code: "4.14.0", applied, facts: { migrations: applied } }), "same");
});

test("an upgrade that had not ended comes back as it was, and is told", () => {
  const applied = migrationsOf("4.15.1").slice(0, -2);
  assert.equal(said({ point: "4.15.1", code: "4.15.1", applied }), "same migrations-were-pending");
});

test("where the code's migrations are not known its number decides, and where there is none nothing does", () => {
  assert.equal(said({ point: "4.15.1", code: "9.0.0" }), "code-newer code-newer");
  assert.equal(said({ point: "4.15.1", code: "9.0.0", migrate: true }), "code-newer code-unknown");
  assert.equal(said({ point: "9.0.0", code: "9.0.0", applied: ["20990101000000"] }), "same");
  assert.equal(said({ point: "9.0.0", code: "8.0.0", applied: ["20990101000000"] }), "code-older code-too-old");
  assert.equal(said({ point: "4.15.1", code: "4.15.1", facts: { version: undefined } }), "unknown code-unknown");
});

test("of every two releases exactly one direction is let through, and never without --migrate", () => {
  const versions = known.releases
    .filter(({ tag }) => compareVersions(tag, "v2.0.0") >= 0)
    .map(({ tag }) => tag.slice(1));
  const some = versions.filter((_, at) => at % 5 === 0);
  for (const point of some) {
    for (const code of some) {
      const plain = judge({ point, code });
      const isSame = JSON.stringify(migrationsOf(point)) === JSON.stringify(migrationsOf(code));
      assert.equal(plain.blockers.length === 0, isSame, `${point} into ${code}`);
      const migrated = judge({ point, code, migrate: true });
      if (compareVersions(code, point) < 0 && !isSame)
        assert.equal(migrated.relation, "code-older", `${point} into ${code}`);
    }
  }
});
