import assert from "node:assert/strict";
import { test } from "node:test";
import { REPOSITORY_EXITS } from "../../src/cli/commands/shared.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { EXITS } from "../../src/cli/exits.ts";
import { GLOBAL_OPTIONS } from "../../src/cli/global-options.ts";
import { formatOverview, formatPage, pageNames } from "../../src/cli/help.ts";
import { widthOf } from "../../src/cli/look.ts";

const asText = { serializers: [(text: string) => text] };

test("the overview", (t) => {
  t.assert.snapshot(formatOverview().join("\n"), asText);
});

for (const name of pageNames()) {
  test(`the page about ${name}`, (t) => {
    t.assert.snapshot((formatPage(name) ?? []).join("\n"), asText);
  });
}

test("every page fits 80 columns and one screen; the overview, which grows with each command, a tall one", () => {
  const overview = formatOverview();
  for (const page of [overview, ...pageNames().map((name) => formatPage(name) ?? [])]) {
    const most = page === overview ? 68 : 48;
    assert.ok(page.length > 4 && page.length <= most, `${page[0]}: ${page.length} lines`);
    for (const line of page) assert.ok(widthOf(line) <= 80, line);
  }
});

test("a page names every option and exit status of its command", () => {
  for (const command of COMMANDS) {
    const page = (formatPage(command.name) ?? []).join("\n");
    for (const { flag } of command.options) assert.ok(page.includes(flag), `${command.name} ${flag}`);
    const isShort = /^ +10… /m.test(page);
    for (const status of Object.keys(command.exits).filter((one) => !isShort || !(one in REPOSITORY_EXITS)))
      assert.match(page, new RegExp(`^ +${status}  `, "m"), command.name);
    assert.ok(command.examples.length > 0, command.name);
  }
});

test("a page is found by the singular too, and nothing else is", () => {
  assert.deepEqual(formatPage("exit"), formatPage("exits"));
  assert.deepEqual(formatPage("point"), formatPage("points"));
  assert.equal(formatPage("nonsense"), undefined);
});

test("no option has two meanings and no command two rows", () => {
  const names = COMMANDS.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  for (const command of COMMANDS) {
    const flags = [...GLOBAL_OPTIONS, ...command.options].flatMap(({ flag, short }) =>
      short === undefined ? [flag] : [flag, short],
    );
    assert.equal(new Set(flags).size, flags.length, command.name);
  }
});

test("every exit status that a failure can have is explained", async () => {
  const { ERRORS } = await import("../../src/base/errors.ts");
  for (const { exit } of Object.values(ERRORS)) assert.ok(exit in EXITS, String(exit));
});
