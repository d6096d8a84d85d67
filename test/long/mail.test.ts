/** Notices of the daily run by e-mail, to a server and read by a program that have nothing to do with what sends them. */
import assert from "node:assert/strict";
import { readFile, rename, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { stringify } from "yaml";
import { describeRun } from "../../src/job/run-notice.ts";
import type { RunSummary } from "../../src/job/run-summary.ts";
import { summaryOf } from "../harness/cli.ts";
import { type Exim, type KeptMail, startExim } from "../harness/exim.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";

const PASSWORD = "mail-passw0rd-canary";
const ZONE = "Europe/Berlin";

let desk: Desk;
let folder: TestFolder;
let exim: Exim;
/** As `init` wrote it. */
let base: string;

before(async () => {
  folder = await temporaryFolder();
  desk = await openDesk();
  exim = await startExim({ user: "ops", password: PASSWORD });
  base = await readFile(desk.config, "utf8");
});

after(async () => {
  await exim[Symbol.asyncDispose]();
  await desk[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

async function dayRun(status: number, { password = PASSWORD, hook = "true" } = {}): Promise<RunSummary> {
  await writeFile(folder.at("password"), `${password}\n`, { mode: 0o600 });
  const daily = {
    schedule: { timezone: ZONE },
    "state-dir": folder.at("state"),
    hooks: { before: hook },
    notify: [
      {
        kind: "email",
        to: ["ops@example.com", "Zoë Müller <zoe@example.com>"],
        from: "Sicherung Büro <chatkeep@example.com>",
        server: exim.host,
        port: exim.port,
        security: "starttls",
        "ca-file": exim.authority,
        user: "ops",
        "password-file": folder.at("password"),
        on: "always",
      },
    ],
  };
  await writeFile(desk.config, `${base}${stringify(daily)}`);
  const result = await desk.chatkeep(["--json", "run"]);
  assert.equal(result.status, status, `${result.stderr}${result.stdout}`);
  return summaryOf(result.stdout) as unknown as RunSummary;
}

function headersOf({ headers }: KeptMail, wanted: string): string[] {
  return headers.filter(([name]) => name === wanted).map(([, value]) => value);
}

/** What is so of every notice. */
async function assertNotice(mail: KeptMail, summary: RunSummary, isLate = false): Promise<void> {
  // A notice cannot say that it did not arrive itself.
  const findings = summary.findings.filter(({ kind }) => kind !== "notice-failed");
  const { title, text } = describeRun({ ...summary, findings }, ZONE);
  assert.deepEqual(headersOf(mail, "subject"), [isLate ? `${title} (late)` : title]);
  assert.deepEqual(headersOf(mail, "from"), ["Sicherung Büro <chatkeep@example.com>"]);
  assert.deepEqual(headersOf(mail, "to"), ["ops@example.com, Zoë Müller <zoe@example.com>"]);
  assert.deepEqual(headersOf(mail, "auto-submitted"), ["auto-generated"]);
  assert.deepEqual(headersOf(mail, "importance"), summary.outcome === "failure" ? ["high"] : []);
  const [date = "", ...moreDates] = headersOf(mail, "date");
  const sentMs = Date.parse(date);
  assert.ok(sentMs >= Date.parse(summary.startedAt) - 1_000 && sentMs <= Date.now(), date);
  const [id = "", ...moreIds] = headersOf(mail, "message-id");
  assert.match(id, /^<[^<>@\s]+@example\.com>$/);
  assert.deepEqual([moreDates, moreIds], [[], []]);
  assert.deepEqual([mail.contentType, mail.charset], ["text/plain", "utf-8"]);
  assert.equal(mail.text, text);
  assert.deepEqual(mail.defects, []);
  const widest = Math.max(...mail.source.split("\n").map((line) => line.length));
  assert.ok(widest <= 998, `a line of ${widest} characters`);
  const repositoryPassword = (await readFile(desk.passwordFile, "utf8")).trim();
  for (const secret of [PASSWORD, repositoryPassword]) {
    assert.ok(secret.length > 5 && !`${mail.source}${mail.text}`.includes(secret), "no secret is in it");
  }
}

test("a day on which all goes well: one mail, encrypted and after a login, which reads as it was written", async () => {
  const summary = await dayRun(0, { hook: `echo the password is ${PASSWORD}` });
  const [mail, ...more] = await exim.mails(1);
  assert.ok(mail !== undefined && more.length === 0);
  await assertNotice(mail, summary);
  assert.match(exim.log(), /<= chatkeep@example\.com .* P=esmtpsa X=TLS1\.3:.* A=plain:ops /);
});

test("a day without a backup is told a day late, after a refused login, and so is the next one, at once", async () => {
  const away = `${desk.repository}-Büro`;
  await rename(desk.repository, away);
  let failed: RunSummary;
  try {
    failed = await dayRun(10, { password: "wrong-canary", hook: `echo Straße; echo ${PASSWORD} >&2` });
  } finally {
    await rename(away, desk.repository);
  }
  assert.deepEqual(
    failed.notices.map(({ delivered }) => delivered),
    [false],
  );
  assert.ok(!JSON.stringify(failed).includes("wrong-canary"));
  // This day fails too.
  const next = await dayRun(1, { hook: `echo ${PASSWORD} >&2; exit 4` });
  const mails = await exim.mails(3);
  assert.equal(mails.length, 3);
  const [, late, newest] = mails;
  assert.ok(late !== undefined && newest !== undefined);
  await assertNotice(late, failed, true);
  await assertNotice(newest, next);
  const ids = new Set(mails.flatMap((mail) => headersOf(mail, "message-id")));
  assert.equal(ids.size, 3, "each has an id of its own");
});
