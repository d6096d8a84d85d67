import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chownSync } from "node:fs";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isFailure } from "../../src/base/errors.ts";
import { parseDatabaseUrl } from "../../src/postgres/address.ts";
import { connect } from "../../src/postgres/connect.ts";
import { findPrograms } from "../../src/postgres/programs.ts";
import { dumpSchema } from "../../src/postgres/schema-dump.ts";
import { type Authority, makeAuthority, type Signed } from "../harness/certificates.ts";
import { serverUser, startPostgres, type TestServer } from "../harness/postgres.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const { signal } = new AbortController();
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let server: TestServer;
let root: Authority;
let stranger: Authority;
let client: Signed;

/** Who may come in how: with encryption only, without it only, with a certificate only. */
const RULES = `
hostnossl all encrypted all reject
hostssl   all plain     all reject
hostssl   all certified all cert
hostnossl all certified all reject
host      all old       all md5
host      all all       all scram-sha-256
`;

before(async () => {
  folder = await temporaryFolder();
  root = await makeAuthority(folder.path, "root");
  stranger = await makeAuthority(folder.path, "stranger");
  client = await root.sign("certified");
  const own = await root.sign("localhost", ["localhost"]);
  const rules = join(folder.path, "rules");
  await writeFile(rules, RULES);
  await chmod(folder.path, 0o711);
  const user = serverUser();
  if (user !== undefined) for (const path of [own.key, own.certificate]) chownSync(path, user.uid, user.gid);
  server = await startPostgres({
    auth: "scram",
    settings: [
      "ssl=on",
      `ssl_cert_file=${own.certificate}`,
      `ssl_key_file=${own.key}`,
      `ssl_ca_file=${root.certificate}`,
      `hba_file=${rules}`,
    ],
  });
  for (const name of ["encrypted", "plain", "certified", "anybody"]) {
    await server.query(`create role ${name} login password 'p4ss'`);
  }
  await server.query("set password_encryption = 'md5'; create role old login password 'p4ss'");
});
after(async () => {
  await server.stop();
  await folder[Symbol.asyncDispose]();
});

function urlOf(
  role: string,
  parameters: Record<string, string>,
  { host = "127.0.0.1", password = ":p4ss" } = {},
): string {
  return `postgresql://${role}${password}@${host}:${server.address.port}/postgres?${new URLSearchParams(parameters).toString()}`;
}

/** How a session came about: encrypted or not, or why there is none. */
async function tryUrl(url: string): Promise<string> {
  try {
    await using connection = await connect(parseDatabaseUrl(url), { signal });
    const [row] = await connection.query<{ ssl: boolean }>("select ssl from pg_stat_ssl where pid = pg_backend_pid()");
    return row?.ssl === true ? "encrypted" : "plain";
  } catch (error) {
    assert.ok(isFailure(error), String(error));
    assert.ok(!`${error.message}${error.hint}`.includes("p4ss"));
    return `${error.code}: ${error.message}`;
  }
}

test("each sslmode encrypts, and verifies, what libpq would", async () => {
  const [ours, other] = [root.certificate, stranger.certificate];
  const local = { host: "localhost" };
  const untrusted = /database\/denied: .*certificate is not trusted/;
  const refused = /database\/denied: .*pg_hba\.conf/;
  const cases: [string, string, Record<string, string>, { host?: string }, RegExp][] = [
    ["disable", "anybody", {}, {}, /^plain$/],
    ["disable", "encrypted", {}, {}, refused],
    ["allow", "anybody", {}, {}, /^plain$/],
    ["allow", "encrypted", {}, {}, /^encrypted$/],
    ["prefer", "anybody", {}, {}, /^encrypted$/],
    ["prefer", "plain", {}, {}, /^plain$/],
    ["prefer", "anybody", { sslrootcert: other }, {}, /^encrypted$/],
    ["require", "anybody", {}, {}, /^encrypted$/],
    ["require", "plain", {}, {}, refused],
    ["require", "anybody", { sslrootcert: ours }, {}, /^encrypted$/],
    ["require", "anybody", { sslrootcert: other }, {}, untrusted],
    ["verify-ca", "anybody", { sslrootcert: ours }, {}, /^encrypted$/],
    ["verify-ca", "anybody", { sslrootcert: other }, {}, untrusted],
    ["verify-full", "anybody", { sslrootcert: ours }, local, /^encrypted$/],
    ["verify-full", "anybody", { sslrootcert: ours }, {}, untrusted],
    ["verify-full", "anybody", { sslrootcert: other }, local, untrusted],
    ["verify-full", "anybody", { sslrootcert: "system" }, local, untrusted],
    [
      "verify-ca",
      "anybody",
      { sslrootcert: join(folder.path, "none") },
      {},
      /config\/invalid: the file of sslrootcert/,
    ],
  ];
  for (const [sslmode, role, more, where, expected] of cases) {
    const name = `${sslmode} as ${role}, ${JSON.stringify(more)}`;
    assert.match(await tryUrl(urlOf(role, { sslmode, ...more }, where)), expected, name);
  }
});

test("a client's certificate opens the door, also for pg_dump", async () => {
  const secure = { sslmode: "verify-full", sslrootcert: root.certificate };
  const where = { host: "localhost", password: "" };
  const url = urlOf("certified", { ...secure, sslcert: client.certificate, sslkey: client.key }, where);
  assert.equal(await tryUrl(url), "encrypted");
  assert.match(await tryUrl(urlOf("certified", secure, where)), /database\/denied: .*certificate/);
  const programs = await findPrograms(server.major, { signal });
  assert.match((await dumpSchema(parseDatabaseUrl(url), programs, { signal })).sql, /^SET /m);
});

test("signing in is bound to the encryption where the URL asks for it, else there is no signing in", async () => {
  const channel_binding = "require";
  assert.equal(await tryUrl(urlOf("anybody", { sslmode: "require", channel_binding })), "encrypted");
  const notBound = /database\/denied: the server does not bind signing in/;
  assert.match(await tryUrl(urlOf("anybody", { sslmode: "disable", channel_binding })), notBound);
  assert.match(await tryUrl(urlOf("old", { sslmode: "require", channel_binding })), notBound);
  assert.equal(await tryUrl(urlOf("old", { sslmode: "require", channel_binding: "prefer" })), "encrypted");
});

test("a URL without a password takes $PGPASSWORD, else what the password file has, and so does pg_dump", async () => {
  const url = urlOf("anybody", { sslmode: "require" }, { password: "" });
  const programs = await findPrograms(server.major, { signal });
  const file = join(folder.path, "passwords");
  let isDeprecated = false;
  process.once("warning", () => {
    isDeprecated = true;
  });
  await writeFile(file, `127.0.0.1:${server.address.port}:*:anybody:p4ss\n`, { mode: 0o600 });
  for (const [name, value] of [
    ["PGPASSFILE", file],
    ["PGPASSWORD", "p4ss"],
  ] as const) {
    assert.match(await tryUrl(url), /asks for a password and none is known/);
    process.env[name] = value;
    try {
      assert.equal(await tryUrl(url), "encrypted", name);
      await dumpSchema(parseDatabaseUrl(url), programs, { signal });
    } finally {
      delete process.env[name];
    }
  }
  assert.equal(isDeprecated, false);
});

test("rows come whole over an encrypted session, however slowly they are taken, and the session goes on after them", async () => {
  await using connection = await connect(parseDatabaseUrl(urlOf("encrypted", { sslmode: "require" })), { signal });
  const rows = 30_000;
  const hash = createHash("md5");
  let pieces = 0;
  const copy = connection.copyTo(
    `copy (select n, repeat(md5(n::text), 20) from generate_series(1, ${rows}) n) to stdout`,
  );
  for await (const piece of copy) {
    hash.update(piece as Buffer);
    pieces += 1;
    if (pieces % 20 === 0) await sleep(1);
  }
  const [row] = await connection.query<{ md5: string }>(
    `select md5(string_agg(n || E'\\t' || repeat(md5(n::text), 20) || E'\\n', '' order by n)) as md5 from generate_series(1, ${rows}) n`,
  );
  assert.equal(hash.digest("hex"), row?.md5);
  assert.equal(copy.rowCount, rows);
});

test("a server that ends an encrypted session in the middle of its rows ends them with what it said", async () => {
  await using connection = await connect(parseDatabaseUrl(urlOf("encrypted", { sslmode: "require" })), { signal });
  const [row] = await connection.query<{ pid: number }>("select pg_backend_pid() as pid");
  const copy = connection.copyTo("copy (select repeat('x', 8000) from generate_series(1, 1000000)) to stdout");
  const readAll = async () => {
    for await (const piece of copy) {
      assert.ok((piece as Buffer).length > 0);
      await server.query(`select pg_terminate_backend(${row?.pid})`);
    }
  };
  await assert.rejects(readAll(), (error) => isFailure(connection.failure(error), "database/unreachable"));
});
