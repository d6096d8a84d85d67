import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import { findPassword } from "../../src/postgres/password-file.ts";
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

test("a password file is read as libpq reads it", () => {
  const address = { ...PLAIN, user: "u" };
  const cases: [string, string | undefined][] = [
    ["db:5432:d:u:one", "one"],
    ["# db:5432:d:u:none\n\nother:*:*:*:two\n*:*:*:u:three\n*:*:*:*:four", "three"],
    [String.raw`db:5432:d:u:a\:b\\c:d`, String.raw`a:b\c:d`],
    ["db:5432:d:other:none", undefined],
    ["db:5432:d:u", undefined],
    ["", undefined],
  ];
  for (const [text, expected] of cases) assert.equal(findPassword(text, address), expected, text);
  const socket = { ...PLAIN, host: "/run/pg" };
  assert.equal(findPassword("localhost:*:*:*:here", socket), "here");
  assert.equal(findPassword("/run/pg:*:*:*:here", socket), "here");
});

test("what a URL asks for and Chatkeep would not heed is refused by its name, and what Rails adds is passed over", () => {
  for (const name of ["service", "passfile", "sslcrl", "require_auth", "target_session_attrs", "options"]) {
    assert.throws(
      () => parseDatabaseUrl(`postgres://u:hunter2@db/d?${name}=x`),
      (error) => {
        assert(error instanceof Failure);
        assert.match(error.message, new RegExp(`parameter '${name}'`));
        assert.doesNotMatch(`${error.message} ${error.hint}`, /hunter2/);
        return true;
      },
    );
  }
  assert.deepEqual(parseDatabaseUrl("postgres://u@db/d?pool=5&prepared_statements=false&connect_timeout=3"), PLAIN);
  assert.equal(parseDatabaseUrl("postgres://u@db/d?channel_binding=require").channelBinding, "require");
  assert.throws(() => parseDatabaseUrl("postgres://u@db/d?channel_binding=maybe"), /channel_binding 'maybe'/);
});

test("several hosts, which libpq would try in turn, are refused as such, and a comma elsewhere is none", () => {
  for (const rest of ["a,b/d", "a:5432,b:5433/d", "a,b", "/d?host=a,b", "a%2Cb/d", "[::1],b:1?sslmode=require"]) {
    assert.throws(
      () => parseDatabaseUrl(`postgres://u:hunter2@${rest}`),
      (error) => {
        assert(error instanceof Failure);
        assert.match(error.message, /names several hosts/, rest);
        assert.doesNotMatch(`${error.message} ${error.hint}`, /hunter2/);
        return true;
      },
    );
  }
  assert.throws(() => parseDatabaseUrl("postgres://a,b/d?user=u"), /several hosts/);
  assert.equal(parseDatabaseUrl("postgres://u:a,b@db/d").password, "a,b");
  assert.equal(parseDatabaseUrl("postgres://u@db/a,b").database, "a,b");
});
