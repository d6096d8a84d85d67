import assert from "node:assert/strict";
import { test } from "node:test";
import { lackingLocales, localeRemedy } from "../../src/postgres/locales.ts";

test("a locale is the same however its set of characters is written, and the built-in ones lack nowhere", () => {
  const printed = "C\nC.utf8\nPOSIX\nde_DE.utf8\nfr_FR.iso88591\nit_IT@euro\n";
  const wanted = ["C", "POSIX", "", "C.UTF-8", "de_DE.UTF-8", "fr_FR.ISO-8859-1", "it_IT@euro"];
  assert.deepEqual(lackingLocales(wanted, printed), []);
  const others = ["de_DE.ISO-8859-1", "fr_FR", "it_IT", "de_DE.UTF-8@phonebook"];
  assert.deepEqual(lackingLocales([...wanted, ...others, ...others], printed), others);
});

for (const [name, command] of [
  ["de_DE.UTF-8", "localedef -i de_DE -f UTF-8 de_DE.UTF-8"],
  ["de_DE.utf8", "localedef -i de_DE -f UTF-8 de_DE.UTF-8"],
  ["de_DE.iso885915@euro", "localedef -i de_DE@euro -f ISO-8859-15 de_DE.ISO-8859-15@euro"],
  ["de_DE.ISO8859-1", "localedef -i de_DE -f ISO-8859-1 de_DE.ISO-8859-1"],
  ["ru_RU.KOI8-R", "localedef -i ru_RU -f KOI8-R ru_RU.KOI8-R"],
  ["ja_JP.eucjp", "localedef -i ja_JP -f EUC-JP ja_JP.EUC-JP"],
  ["ca_ES.UTF-8@valencia", "localedef -i ca_ES@valencia -f UTF-8 ca_ES.UTF-8@valencia"],
] as const) {
  test(`a machine is told how it is given the locale ${name}`, () => {
    assert.ok(localeRemedy([name]).startsWith(`Make it: '${command}' as root`), localeRemedy([name]));
    // What that makes is the locale that was lacking.
    const [made = ""] = command.split(" ").slice(-1);
    assert.deepEqual(lackingLocales([name], made), []);
  });
}

test("of a locale that names no set of characters it is said where its own is found", () => {
  assert.match(
    localeRemedy(["ru_RU"]),
    /^Make it: 'localedef -i ru_RU -f CHARMAP ru_RU' as root, .*'ru_RU' has in \/usr\/share\/i18n\/SUPPORTED/,
  );
});
