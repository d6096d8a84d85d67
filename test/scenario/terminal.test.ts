/** What a person at a terminal sees and is asked: `script` is the terminal. */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { atTerminal as atTerminalOf, type Typing } from "../harness/terminal.ts";
import { readFolder } from "../harness/tree.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";

let desk: Desk;

before(async () => {
  desk = await openDesk({ size: { messages: 120, conversations: 20, files: 12 } });
  await makeCheapToOpen(desk);
  await desk.summary(["backup"]);
});

after(async () => await desk[Symbol.asyncDispose]());

async function atTerminal(args: readonly string[], ...typing: Typing[]): Promise<{ status: number; screen: string }> {
  return await atTerminalOf(desk, args, ...typing);
}

const QUESTION = /To go on, type the installation's name \(desk\):/;

test("a restore shows its plan and asks for the installation's name: another name changes nothing", async () => {
  const answer = { question: QUESTION, typed: "dekk\n" };
  const { status, screen } = await atTerminal(["restore", "latest", "--to", "not-made"], answer);
  assert.equal(status, 130, screen);
  assert.match(screen, /plan of a restore of desk/);
  assert.ok(screen.search(/plan of a restore/) < screen.search(QUESTION), "the plan comes first");
  assert.match(screen, /error: the restore was not confirmed\r\nhint: Nothing was changed\./);
  await assert.rejects(readdir(join(desk.root, "not-made")), /ENOENT/);
});

test("the end of the input is no yes", async () => {
  // Ctrl-D, as a terminal sends it.
  const answer = { question: QUESTION, typed: "\u0004" };
  const { status, screen } = await atTerminal(["restore", "latest", "--to", "not-made"], answer);
  assert.equal(status, 130, screen);
  assert.match(screen, /error: the question was not answered/);
  await assert.rejects(readdir(join(desk.root, "not-made")), /ENOENT/);
});

test("Ctrl-C at the question changes nothing, and says so", async () => {
  const answer = { question: QUESTION, typed: "\u0003" };
  const { status, screen } = await atTerminal(["restore", "latest", "--to", "not-made"], answer);
  assert.equal(status, 130, screen);
  assert.match(screen, /error: stopped before the end\r\nhint: Nothing was changed\./);
  await assert.rejects(readdir(join(desk.root, "not-made")), /ENOENT/);
});

test("with the right name the restore goes on", async () => {
  const answer = { question: QUESTION, typed: "desk\n" };
  const { status, screen } = await atTerminal(["restore", "latest", "--to", "restored"], answer);
  assert.equal(status, 0, screen);
  assert.match(screen, /✓ restored from restore point/);
  assert.deepEqual(
    await readFolder(join(desk.root, "restored/storage")),
    await readFolder(desk.installation.storageRoot),
  );
});

test("a backup draws one live line over and over, and takes it away at the end", async () => {
  const { status, screen } = await atTerminal(["backup"]);
  assert.equal(status, 0, screen);
  const ERASE = "\r\u001B[2K";
  const drawn = screen.split(ERASE);
  const rest = drawn.pop() ?? "";
  for (const stage of ["saving new files", "reading the database", "writing the restore point"])
    assert.ok(
      drawn.some((line) => line.startsWith(stage)),
      `${stage}: ${JSON.stringify(screen)}`,
    );
  for (const line of drawn) assert.ok(!line.includes("\n") && line.length < 100, JSON.stringify(line));
  // After the last erasure only whole lines stand: those of the report.
  assert.match(rest, /^restore point [0-9a-f]{8} made in /);
  assert.ok(rest.endsWith("\r\n"), JSON.stringify(rest));
});

test("with --quiet nothing is drawn and nothing is said when all is well", async () => {
  assert.deepEqual(await atTerminal(["backup", "--quiet"]), { status: 0, screen: "" });
});
