import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import { serverFailure, sqlState } from "../../src/postgres/server-errors.ts";

const address = {
  host: "db.example",
  port: 5432,
  user: "chatwoot",
  password: "hunter2",
  database: "chatwoot_production",
};

function error(message: string, code?: string): Error {
  return Object.assign(new Error(message), code === undefined ? {} : { code });
}

test("what a network, a library or a server says becomes a failure that says what to do", () => {
  const cases: [Error, Failure["code"], RegExp][] = [
    [error("getaddrinfo", "ENOTFOUND"), "database/unreachable", /^the host 'db\.example' is not known \(chatwoot@/],
    [error("getaddrinfo", "EAI_AGAIN"), "database/unreachable", /is not known/],
    [error("connect", "ETIMEDOUT"), "database/unreachable", /does not answer/],
    [error("read", "ECONNRESET"), "database/unreachable", /was cut/],
    [
      new AggregateError([error("connect", "ECONNREFUSED"), error("connect", "ECONNREFUSED")]),
      "database/unreachable",
      /no PostgreSQL server answers/,
    ],
    [error("timeout expired"), "database/unreachable", /was lost/],
    [error("Connection terminated unexpectedly"), "database/unreachable", /was lost/],
    [
      error("self-signed certificate in certificate chain", "SELF_SIGNED_CERT_IN_CHAIN"),
      "database/denied",
      /certificate is not trusted/,
    ],
    [error("the database system is starting up", "57P03"), "database/unreachable", /ended the connection/],
    [error("could not extend file", "53100"), "database/no-space", /the database server's disk is full/],
    [error("sorry, too many clients already", "53300"), "database/full", /no connection left/],
    [error("no pg_hba.conf entry for host", "28000"), "database/denied", /refuses 'chatwoot'/],
    [error("permission denied for table accounts", "42501"), "database/denied", /permission denied for table accounts/],
    [
      error("invalid page in block 7 of relation base/5/16384", "XX001"),
      "database/unreadable",
      /cannot read its own data: invalid page/,
    ],
    [error("division by zero", "22012"), "database/failed", /^the server says: division by zero$/],
    [error("something else"), "database/failed", /failed: something else/],
  ];
  for (const [thrown, code, message] of cases) {
    const failure = serverFailure(thrown, address);
    assert.equal(failure.code, code, thrown.message);
    assert.match(failure.message, message);
    assert.match(failure.hint ?? "", /[.?]$/, "a hint is a sentence");
    assert.notEqual(failure.cause, undefined);
    assert.doesNotMatch(`${failure.message} ${failure.hint}`, /hunter2/);
  }
});

test("a failure passes unchanged, and the server's own code is found behind it", () => {
  const failure = new Failure("database/changed", "x", { cause: error("gone", "42P01") });
  assert.equal(serverFailure(failure, address), failure);
  assert.equal(sqlState(failure), "42P01");
  assert.equal(sqlState(error("connect", "ECONNREFUSED")), undefined);
  assert.equal(sqlState(error("write", "EPIPE")), undefined);
  assert.equal(serverFailure("text", address).code, "database/failed");
});
