import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import { childEnvironment, describeAddress, parseDatabaseUrl } from "../../src/postgres/address.ts";

const PLAIN = { host: "db", port: 5432, user: "u", database: "d" };

test("a database URL is read as libpq and Rails read it", () => {
  const cases: [string, object][] = [
    ["postgres://u@db/d", PLAIN],
    ["postgresql://u:p@db:6432/d", { ...PLAIN, port: 6432, password: "p" }],
    ["postgres://u:p%40%2F%25%3A@db/d", { ...PLAIN, password: "p@/%:" }],
    ["postgres://u:p@[::1]:1/d", { ...PLAIN, host: "::1", port: 1, password: "p" }],
    ["postgres://u@%2Fvar%2Frun%2Fpostgresql/d", { ...PLAIN, host: "/var/run/postgresql" }],
    ["postgres://u@/d?host=/run/pg&port=5433", { ...PLAIN, host: "/run/pg", port: 5433 }],
    ["postgres://u@db", { ...PLAIN, database: "u" }],
    ["postgres://u@db/odd%20name%22", { ...PLAIN, database: 'odd name"' }],
    ["  postgres://u@db/d\n", PLAIN],
    [
      "postgres://u@db/d?sslmode=verify-full&sslrootcert=/ca.pem",
      { ...PLAIN, ssl: { mode: "verify-full", rootCertificate: "/ca.pem", certificate: undefined, key: undefined } },
    ],
  ];
  for (const [text, expected] of cases) assert.deepEqual(parseDatabaseUrl(text), expected, text);
});

test("a wrong database URL is refused with a hint and without showing its password", () => {
  const wrong = [
    "mysql://u:hunter2@db/d",
    "postgres://u:hunter2@db:99999/d",
    "postgres://u:hunter2@db/d?sslmode=strict",
    "postgres://u:hunter2%zz@db/d",
    "postgres://:hunter2@db/d",
    "u:hunter2@db",
    "postgres://u:hunter2@d b/d",
    "",
  ];
  for (const text of wrong) {
    assert.throws(
      () => parseDatabaseUrl(text),
      (error) => {
        assert(error instanceof Failure, text);
        assert.equal(error.code, "config/invalid");
        assert.match(error.hint ?? "", /^Write it as/);
        assert.doesNotMatch(`${error.message} ${error.hint} ${String(error.stack)}`, /hunter2/);
        return true;
      },
    );
  }
});

test("an address is described without its password, and a child finds it in its environment only", () => {
  const address = { ...PLAIN, host: "::1", password: "hunter2", ssl: { mode: "require" as const } };
  assert.equal(describeAddress(address), "u@[::1]:5432/d");
  const env = childEnvironment(address);
  assert.equal(env["PGPASSWORD"], "hunter2");
  assert.equal(env["PGHOST"], "::1");
  assert.equal(env["PGSSLMODE"], "require");
  assert.equal(env["PGSERVICE"], undefined);
  assert("PGSERVICE" in env, "a service of the user's own must not take the place of the address");
});
