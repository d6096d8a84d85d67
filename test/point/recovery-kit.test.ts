/** The paper that, with a repository, is enough. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  fingerprintOf,
  formatQr,
  formatRecoveryKit,
  kitSteps,
  type RecoveryKit,
} from "../../src/point/recovery-kit.ts";
import { formatRecoveryPage } from "../../src/point/recovery-page.ts";

/** Not a real code: a pattern that is easy to find again. */
const QR = Array.from({ length: 21 }, (_row, row) => Array.from({ length: 21 }, (_cell, column) => row * 7 === column));
const PRIMARY = {
  name: "primary",
  location: "/var/backups/chatkeep",
  opened: { id: "ab12cd34".padEnd(64, "0"), keyId: "77fe0a91".padEnd(64, "1") },
  password: { text: "4k2m-9xwq", qr: QR },
};
const REMOTE = { ...PRIMARY, name: "offsite", location: "s3:https://s3.example.com/bucket" };
const KIT: RecoveryKit = {
  installation: { id: "6f1c0d5e-9a77-4d0e-8f2b-3f6f5b1c2d3e", name: "acme" },
  repositories: [PRIMARY, REMOTE],
  writtenAt: "2026-11-24T17:10:00.000Z",
};

test("every repository is on the kit, with its fingerprint, its password and its code", () => {
  for (const paper of [formatRecoveryKit(KIT), formatRecoveryPage(KIT)]) {
    for (const { name, location, opened, password } of [PRIMARY, REMOTE]) {
      for (const text of [name, location, fingerprintOf(opened.id, opened.keyId), opened.id, password.text])
        assert.ok(paper.includes(text), text);
    }
    for (const text of ["acme", KIT.installation.id, "2026-11-24"]) assert.ok(paper.includes(text), text);
    assert.ok(paper.includes("ab12cd34-77fe0a91"));
  }
  assert.equal(formatRecoveryPage(KIT).match(/<svg /g)?.length, 2);
});

test("where a place has a login of its own there is a line for it, and where the password is not printed, too", () => {
  const bare = { ...KIT, repositories: [{ ...PRIMARY, password: undefined }] };
  assert.match(formatRecoveryKit(bare), /^ {2}Password {7}_+ \(write it here\)$/m);
  assert.ok(!formatRecoveryKit(bare).includes("4k2m") && !formatRecoveryKit(bare).includes("Its login"));
  assert.ok(!/4k2m|<svg|Its login/.test(formatRecoveryPage(bare)));
  assert.match(formatRecoveryKit(KIT), /^ {2}Its login {6}_+/m);
  assert.match(formatRecoveryPage(KIT), /<dt>Its login<\/dt><dd class="fill"><\/dd>/);
});

test("a repository that could not be opened is on the kit all the same", () => {
  const shut = { ...KIT, repositories: [PRIMARY, { ...REMOTE, opened: undefined, password: undefined }] };
  for (const paper of [formatRecoveryKit(shut), formatRecoveryPage(shut)])
    assert.match(paper, /could not be opened when this was written/);
});

test("the page is one file: it runs nothing, loads nothing, and what comes from the configuration is only text", () => {
  const hostile = `<script>alert("1")</script>&'"`;
  const page = formatRecoveryPage({
    ...KIT,
    installation: { id: hostile, name: hostile },
    repositories: [{ ...PRIMARY, name: hostile, location: hostile, password: { text: hostile, qr: QR } }],
  });
  assert.doesNotMatch(page, /<script|<link|<img|<iframe|@import|url\(|\son\w+=|<a |src=|href=/i);
  assert.ok(page.includes("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;'&quot;"));
  assert.ok(page.includes("default-src 'none'"));
  assert.doesNotMatch(page.replaceAll(/s3:https:\S+/g, ""), /https?:/);
});

test("no line of the text is longer than 78 columns, but what a shell must get as one", () => {
  const lines = formatRecoveryKit(KIT).split("\n");
  for (const line of lines) assert.ok(line.length <= 78 || /--password-file|--repository/.test(line), line);
  for (const line of lines) assert.doesNotMatch(line, /\s$/);
});

test("the password goes into a file that only its owner reads, and into no command and no shell history", () => {
  const commands = kitSteps(KIT).flatMap((step) => step.commands);
  assert.match(commands[0] ?? "", /^\(umask 077; /);
  for (const command of commands) assert.ok(!command.includes("4k2m") && !/PASSWORD=/.test(command), command);
});

test("names with blanks and quotes reach the shell as they are", () => {
  const odd = { ...KIT, repositories: [{ ...PRIMARY, location: "/mnt/it's here" }] };
  assert.ok(kitSteps(odd).some(({ commands }) => commands.includes("export RESTIC_REPOSITORY='/mnt/it'\\''s here'")));
});

test("half blocks show every module, and four light ones around them", () => {
  const lines = formatQr(QR);
  assert.equal(lines.length, Math.ceil((21 + 8) / 2));
  const isDark = (row: number, column: number) => {
    const char = lines[Math.floor((row + 4) / 2)]?.[column + 4] ?? " ";
    return char === "█" || char === ((row + 4) % 2 === 0 ? "▀" : "▄");
  };
  for (let row = -4; row < 25; row += 1)
    for (let column = -4; column < 25; column += 1) assert.equal(isDark(row, column), QR[row]?.[column] === true);
});
