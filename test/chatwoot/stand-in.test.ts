/** Stand-ins: one for each, none for two, of the same look, and never the value itself. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { assert as assertAlways, property, string } from "fast-check";
import { makeStandIns } from "../../src/chatwoot/stand-in.ts";

const standIns = makeStandIns(Buffer.alloc(32, 7));

/** What a text looks like: its letters' script and case, its digits, and all else as it is. */
function look(text: string): string {
  return text
    .replaceAll(/\p{Nd}/gu, "0")
    .replaceAll(/\p{Script=Latin}/gu, (c) => (/\p{Lu}/u.test(c) ? "L" : "l"))
    .replaceAll(/\p{Script=Cyrillic}/gu, (c) => (/\p{Lu}/u.test(c) ? "C" : "c"))
    .replaceAll(/\p{Script=Greek}/gu, "g")
    .replaceAll(/\p{Script=Han}/gu, "h")
    .replaceAll(/\p{Script=Arabic}/gu, "a")
    .replaceAll(/\p{Script=Hangul}/gu, "k")
    .replaceAll(/\p{Script=Hebrew}/gu, "b");
}

const NAMES = [
  "Anna Müller",
  "O'Brien-Smith, J.",
  "Олег Иванов",
  "王小明",
  "محمد علي",
  "김철수",
  "דוד כהן",
  "Ελένη",
  "Nguyễn Thị Minh",
  "Ayşe",
  "R2-D2",
];

test("a name keeps its length, its scripts and its cases, and nothing of itself", () => {
  for (const name of NAMES) {
    const made = standIns.name(name);
    assert.notEqual(made, name);
    assert.equal(Array.from(made).length, Array.from(name).length, made);
    assert.equal(look(made), look(name), `${name} → ${made}`);
    assert.equal(standIns.name(name), made);
    assert.equal(standIns.name(name.toLowerCase()), made.toLowerCase());
    assert.notEqual(makeStandIns(randomBytes(32)).name(name), made);
  }
  assert.equal(Array.from(standIns.name("👨‍👩‍👧 😀")).length, Array.from("👨‍👩‍👧 😀").length);
});

test("no two short values get the same stand-in, and none is its own", () => {
  const letters = "abcdefghijklmnopqrstuvwxyz".split("");
  for (const all of [
    letters,
    letters.flatMap((a) => letters.map((b) => `${a}${b}`)),
    Array.from({ length: 1000 }, (_, at) => String(at).padStart(3, "0")),
  ]) {
    const made = all.map((value) => standIns.name(value));
    assert.equal(new Set(made).size, all.length);
    assert.deepEqual(made.toSorted(), all.toSorted());
    assert.ok(made.every((value, at) => value !== all[at]));
  }
});

test("whatever a value is, its stand-in is as long, and others get others", () => {
  const value = string({ unit: "grapheme", minLength: 1, maxLength: 40 });
  assertAlways(
    property(value, value, (a, b) => {
      const [x, y] = [standIns.name(a), standIns.name(b)];
      assert.equal(Array.from(x).length, Array.from(a).length);
      if (a !== b) assert.notEqual(x, y);
    }),
    { numRuns: 300 },
  );
});

test("an address is nobody's, keeps company with others of its domain, and one is one", () => {
  const [a, b] = [standIns.email("anna.mueller@acme.example"), standIns.email("bo@acme.example")];
  assert.match(a, /^[a-z]{4}\.[a-z]{7}@[a-z]{4}\.[a-z]{7}\.invalid$/);
  assert.equal(a.split("@")[1], b.split("@")[1]);
  assert.equal(standIns.domain("acme.example"), a.split("@")[1]);
  assert.equal(standIns.email("Anna.Mueller@acme.example").toLowerCase(), a);
  const many = Array.from({ length: 2000 }, (_, at) => standIns.email(`u${at}@x.io`));
  assert.equal(new Set(many).size, 2000);
});

test("a telephone number is one of no country, and as many come out as went in", () => {
  const numbers = Array.from({ length: 5000 }, (_, at) => `49157${10_000_000 + at}`);
  const made = numbers.map((number) => standIns.phoneDigits(number));
  assert.equal(new Set(made).size, 5000);
  for (const number of made) assert.match(number, /^(?:83|28|89)\d{13}$/);
  assert.equal(new Set([...Array(10).keys()].map((n) => standIns.phoneDigits(String(n)))).size, 10);
  assert.match(standIns.phoneDigits("123456789012345"), /^89\d{13}$/);
});

test("what other systems call somebody keeps its form, and goes with the number and the address", () => {
  const digits = standIns.phoneDigits("4915112345678");
  assert.equal(standIns.identifier("+4915112345678"), `+${digits}`);
  assert.equal(standIns.identifier("4915112345678"), digits);
  assert.equal(standIns.identifier("whatsapp:+4915112345678"), `whatsapp:+${digits}`);
  assert.equal(standIns.identifier("4915112345678@s.whatsapp.net"), `${digits}@s.whatsapp.net`);
  assert.equal(standIns.identifier("anna@acme.example"), standIns.email("anna@acme.example"));
  const uuid = "0b8e2c2e-77b4-4b9e-9e0f-6e3e7b3e2d11";
  assert.match(standIns.identifier(uuid), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.notEqual(standIns.identifier(uuid), uuid);
});

test("a text is another in another place, and the same one in the same place", () => {
  const text = "Hello Anna, your order 4711 was sent. До завтра!";
  const made = standIns.text(text, "messages 1");
  assert.equal(look(made), look(text));
  assert.equal(standIns.text(text, "messages 1"), made);
  assert.notEqual(standIns.text(text, "messages 2"), made);
});

test("a date is a date", () => {
  const made = standIns.date("1984-02-29T23:59:59.123Z");
  assert.match(made, /^\d{4}-\d\d-\d\dT\d\d:\d\d:59\.123Z$/);
  assert.ok(!Number.isNaN(Date.parse(made)));
});
