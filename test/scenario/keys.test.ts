/** Keys that do not open the secrets are noticed at backup, at the drill and before a restore; right ones are not spoken of. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Finding } from "../../src/base/findings.ts";
import { deriveEncryptionKeys, encryptText } from "../../src/demo/rails-secrets.ts";
import { formatEnvironment } from "../../src/demo/environment.ts";
import type { ProofCheck } from "../../src/point/proof.ts";
import { jsonLines, summaryOf } from "../harness/cli.ts";
import type { RunResult } from "../harness/run.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { assertNoSecret } from "./refusal.ts";
import { longTest } from "../harness/whole.ts";

const OTHER = {
  ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY: "canary-other-primary-key-0123456",
  ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY: "canary-other-deterministic-01234",
  ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT: "canary-other-derivation-salt-012",
};
const OTHER_BASE = "canary-other-secret-key-base-0123456789";
const PREFIX = "ACTIVE_RECORD_ENCRYPTION_";

let desk: Desk;
/** A point taken when all was well, and what was said of it then. */
let point: string;
let findings: Finding[];

before(async () => {
  desk = await openDesk({ hasServerForDrills: true, size: { messages: 120, conversations: 20, files: 16 } });
  await makeCheapToOpen(desk);
  const summary = await desk.summary(["backup"]);
  point = String(summary["point"]);
  findings = (summary["findings"] as Finding[]).filter(({ level }) => level !== "note");
});

after(async () => await desk[Symbol.asyncDispose]());

interface Noticed {
  /** Kinds of the alarms. */
  backup: string[];
  /** Names of the checks that failed. */
  drill: string[];
  /** Kinds of what the plan of a restore shows. */
  plan: string[];
}

/** Runs the command line with --json, and never lets it print a secret. */
async function run(args: readonly string[], status: number): Promise<RunResult> {
  const result = await desk.chatkeep(["--json", ...args]);
  assert.equal(result.status, status, result.stderr);
  assertNoSecret(result, [...desk.installation.secrets, ...Object.values(OTHER), OTHER_BASE]);
  return result;
}

/** Backs up, and tells what that, a drill of the point and the plan of its restore noticed of keys. */
async function notice(): Promise<Noticed> {
  const made = summaryOf((await run(["backup"], 3)).stdout);
  const alarms = (made["findings"] as Finding[]).filter(({ level }) => level === "alarm").map(({ kind }) => kind);
  // The restore point is made all the same.
  const noticed = await noticeOf(String(made["point"]), 1);
  return { backup: alarms, ...noticed };
}

async function noticeOf(point: string, drillStatus = 0): Promise<Omit<Noticed, "backup">> {
  const drill = await run(["drill", point], drillStatus);
  const proof = summaryOf(drill.stdout);
  const failed = (proof["checks"] as ProofCheck[]).filter(({ ok }) => !ok).map(({ name }) => name);
  assert.equal(proof["proven"], failed.length === 0);
  for (const name of failed) assert.match(drill.stderr, new RegExp(`^error: .* failed: .*${name}`, "m"));
  const { stdout } = await run(["restore", point, "--to", "never-made", "--plan"], 0);
  const shown = jsonLines(stdout).find(({ type }) => type === "plan");
  assert.ok(shown !== undefined, stdout);
  const kinds = (shown["findings"] as Finding[]).map(({ kind }) => kind);
  return { drill: failed, plan: kinds.filter((kind) => kind.startsWith("saved-")) };
}

/** Lets Chatwoot have another environment while `act` runs; an undefined variable is taken away. */
async function withEnvironment<T>(changes: Record<string, string | undefined>, act: () => Promise<T>): Promise<T> {
  const { envFile, environment } = desk.installation;
  const before = await readFile(envFile, "utf8");
  const changed = new Map(environment);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) changed.delete(name);
    else changed.set(name, value);
  }
  await writeFile(envFile, formatEnvironment(changed));
  try {
    return await act();
  } finally {
    await writeFile(envFile, before);
  }
}

test("other ACTIVE_RECORD_ENCRYPTION_* keys than those that the secrets were encrypted with", async () => {
  assert.deepEqual(await withEnvironment(OTHER, notice), {
    backup: ["encryption-keys-unknown"],
    drill: ["encryption-keys"],
    plan: ["saved-keys-do-not-open"],
  });
});

longTest("no ACTIVE_RECORD_ENCRYPTION_* keys at all, and only two of the three", async () => {
  const expected = {
    backup: ["encryption-keys-missing"],
    drill: ["encryption-keys"],
    plan: ["saved-keys-do-not-open"],
  };
  const none = Object.fromEntries(Object.keys(OTHER).map((name) => [name, undefined]));
  assert.deepEqual(await withEnvironment(none, notice), expected);
  const salt = `${PREFIX}KEY_DERIVATION_SALT`;
  const { stdout, status } = await withEnvironment(
    { [salt]: undefined },
    async () => await desk.chatkeep(["--json", "backup"]),
  );
  assert.equal(status, 3);
  const findings = summaryOf(stdout)["findings"] as Finding[];
  assert.deepEqual(
    findings.filter(({ level }) => level === "alarm").map(({ kind }) => kind),
    expected.backup,
  );
});

longTest("some columns that were encrypted with other keys are named, and no other", async () => {
  const others = deriveEncryptionKeys({
    primaryKey: OTHER[`${PREFIX}PRIMARY_KEY`],
    deterministicKey: OTHER[`${PREFIX}DETERMINISTIC_KEY`],
    salt: OTHER[`${PREFIX}KEY_DERIVATION_SALT`],
  });
  const foreign = encryptText(others, "canary-imap-password", randomBytes(12));
  const [row] = await desk.server.query(
    "select id, imap_password from channel_email where imap_password like '{\"p\":%' order by id limit 1",
    "chatwoot_production",
  );
  assert.ok(row !== undefined, "the installation has an encrypted IMAP password");
  const set = async (value: unknown) =>
    await desk.server.query(
      `update channel_email set imap_password = '${String(value)}' where id = ${String(row["id"])}`,
      "chatwoot_production",
    );
  await set(foreign);
  try {
    assert.deepEqual(await notice(), {
      backup: ["encryption-keys-unknown"],
      drill: ["encryption-keys"],
      plan: ["saved-keys-do-not-open"],
    });
    const { stdout } = await desk.chatkeep(["backup", "--json"]);
    const alarm = (summaryOf(stdout)["findings"] as Finding[]).find(({ level }) => level === "alarm");
    assert.match(alarm?.message ?? "", /^1 encrypted value in channel_email\.imap_password /);
  } finally {
    await set(row["imap_password"]);
  }
});

longTest("another SECRET_KEY_BASE than the one that signed the links in the data", async () => {
  assert.deepEqual(await withEnvironment({ SECRET_KEY_BASE: OTHER_BASE }, notice), {
    backup: ["secret-key-base-wrong"],
    drill: ["secret-key-base"],
    plan: ["saved-secret-key-base-wrong"],
  });
});

test("right keys are noticed by nobody, and an earlier good point is as good as ever", async () => {
  const good = await withEnvironment({ ...OTHER, SECRET_KEY_BASE: OTHER_BASE }, async () => {
    assert.equal((await desk.chatkeep(["backup"])).status, 3);
    return await noticeOf(point);
  });
  assert.deepEqual([findings, good], [[], { drill: [], plan: [] }]);
  await desk.summary(["restore", point, "--to", "good", "--only", "config", "--yes"]);
  assert.deepEqual(
    await readFile(join(desk.root, "good/config/env"), "utf8"),
    await readFile(desk.installation.envFile, "utf8"),
  );
});
