/** Passwords, and what they open. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import { randomKeys, seal } from "../../src/format/crypto.ts";
import { createKeyFile, DEFAULT_COST, deriveKeys, openKeyFile } from "../../src/format/key-file.ts";
import { FIXED_KEYS, hostile, withEachFieldReplaced } from "./refusal.ts";

/** Cheap, so that a test can try many. */
const CHEAP = { N: 2, r: 1, p: 1 };
const WHO = { username: "keeper", hostname: "a<b", created: "2026-03-04T05:06:07.5Z" };

async function refused(bytes: Uint8Array | string, code: "repo/damaged" | "repo/unsupported"): Promise<void> {
  await assert.rejects(openKeyFile(Buffer.from(bytes), "secret"), (error) => {
    assert.ok(isFailure(error, code), String(error));
    assert.doesNotMatch(`${error.message} ${error.hint}`, /secret|MzMz/);
    return true;
  });
}

test("a password's keys are scrypt's bytes in restic's order (RFC 7914, section 12)", async () => {
  const vectors = [
    [
      "",
      "",
      { N: 16, r: 1, p: 1 },
      "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906",
    ],
    [
      "password",
      "NaCl",
      { N: 1024, r: 8, p: 16 },
      "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640",
    ],
  ] as const;
  for (const [password, salt, cost, expected] of vectors) {
    const keys = await deriveKeys(password, { ...cost, salt: Buffer.from(salt) });
    assert.equal(Buffer.concat([keys.encrypt, keys.macK, keys.macR]).toString("hex"), expected);
  }
});

test("a key file opens with its password and with no other", async () => {
  const master = randomKeys();
  for (const password of ["secret", "päss wörd \u{1f511}", " ", "x".repeat(200)]) {
    const file = await createKeyFile(password, master, WHO, CHEAP);
    const opened = await openKeyFile(file, password);
    assert.deepEqual(
      opened && Object.values(opened).map((key) => Buffer.from(key).toString("hex")),
      Object.values(master).map((key) => Buffer.from(key).toString("hex")),
    );
    for (const wrong of ["", "Secret", `${password} `, password.slice(1)]) {
      if (wrong !== password) assert.equal(await openKeyFile(file, wrong), undefined);
    }
  }
});

test("a key file is plain JSON with restic's fields in restic's order, and holds no secret", async () => {
  const master = randomKeys();
  const file = (await createKeyFile("secret", master, WHO)).toString();
  const parsed = JSON.parse(file) as Record<string, unknown>;
  assert.deepEqual(Object.keys(parsed), "created username hostname kdf N r p salt data".split(" "));
  assert.deepEqual({ N: parsed["N"], r: parsed["r"], p: parsed["p"] }, DEFAULT_COST);
  assert.ok(
    file.startsWith(`{"created":"2026-03-04T05:06:07.5Z","username":"keeper","hostname":"a\\u003cb","kdf":"scrypt"`),
  );
  assert.equal(Buffer.from(String(parsed["salt"]), "base64").length, 64);
  for (const key of Object.values(master)) assert.ok(!file.includes(Buffer.from(key).toString("base64")));
});

test("costs are refused before they are paid", async () => {
  const file = (await createKeyFile("secret", FIXED_KEYS, WHO, CHEAP)).toString();
  const withCost = ([N, r, p]: readonly [number, number, number]) =>
    file.replace(`"N":2,"r":1,"p":1`, `"N":${N},"r":${r},"p":${p}`);
  for (const cost of [
    [0, 1, 1],
    [1, 1, 1],
    [3, 1, 1],
    [-2, 1, 1],
    [2, 0, 1],
    [2, 1, 0],
    [2.5, 1, 1],
  ] as const) {
    await refused(withCost(cost), "repo/damaged");
  }
  for (const cost of [
    [2 ** 30, 1, 1],
    [2 ** 20, 8, 1],
    [2, 2 ** 40, 1],
    [2 ** 19, 8, 9],
    [2, 1, 2 ** 31],
  ] as const) {
    await refused(withCost(cost), "repo/unsupported");
  }
});

test("more memory than scrypt's usual limit in Node is fine", async () => {
  const cost = { N: 2 ** 16, r: 8, p: 1 };
  const file = await createKeyFile("secret", FIXED_KEYS, WHO, cost);
  assert.deepEqual((await openKeyFile(file, "secret"))?.encrypt, FIXED_KEYS.encrypt);
});

test("a damaged file, another derivation and keys of zeros are refused", async () => {
  const file = (await createKeyFile("secret", FIXED_KEYS, WHO, CHEAP)).toString();
  await refused(file.slice(0, -1), "repo/damaged");
  await refused(file.replace("scrypt", "argon2"), "repo/unsupported");
  await refused(`${file}${" ".repeat(70_000)}`, "repo/damaged");
  await refused(file.replace(/"salt":"..../, `"salt":"`), "repo/damaged");
  await refused(file.replace(/"salt":"./, `"salt":"*`), "repo/damaged");
  const zeros = { ...FIXED_KEYS, macR: Buffer.alloc(16) };
  await refused(await createKeyFile("secret", zeros, WHO, CHEAP), "repo/damaged");
});

test("a key that was sealed properly and says nonsense is refused without repeating it", async () => {
  const salt = Buffer.alloc(64, 5);
  const user = await deriveKeys("secret", { ...CHEAP, salt });
  const inner = [
    "",
    "MzMzMzM",
    "null",
    "{}",
    `{"mac":{"k":"MzMz","r":"MzMz"},"encrypt":"MzMz"}`,
    `{"mac":1,"encrypt":2}`,
  ];
  for (const text of inner) {
    const data = seal(user, Buffer.from(text)).toString("base64");
    await refused(JSON.stringify({ kdf: "scrypt", ...CHEAP, salt: salt.toString("base64"), data }), "repo/damaged");
  }
});

async function opens(json: string): Promise<void> {
  try {
    await openKeyFile(Buffer.from(json), "secret");
  } catch (error) {
    assert.ok(isFailure(error, "repo/damaged") || isFailure(error, "repo/unsupported"), String(error));
  }
}

test("hostile key files never cost more than a refusal", async () => {
  const file = (await createKeyFile("secret", FIXED_KEYS, WHO, CHEAP)).toString();
  for (const changed of withEachFieldReplaced(file)) await opens(changed);
  await fc.assert(fc.asyncProperty(hostile(file), opens), { numRuns: 300 });
});
