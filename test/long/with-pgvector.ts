/** The same round on a newer PostgreSQL with pgvector, as Chatwoot 4 runs it: real vector columns and their indexes. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { listPoints } from "../../src/job/points.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { embeddedPostgres } from "../harness/embedded.ts";
import { assertSameDatabase, dumpLines } from "../harness/pg-dump-diff.ts";
import { mustRun } from "../harness/run.ts";
import { type NewerMajor, newerPostgres } from "../harness/newer-postgres.ts";
import { readFolder } from "../harness/tree.ts";
import { reopen, signal } from "../repo/small-backup.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { openDesk } from "../scenario/desk.ts";
import { makeHostile, onDatabase } from "../scenario/hostile-installation.ts";
import { backUpAndTell, prove, restoreAndCompare, type Round } from "../scenario/line-for-line.ts";
import { FOLLOWED, protect, serverTime } from "../scenario/protected-desk.ts";

/** Floats at their ends, dimensions free and fixed, all of pgvector's types, all of its indexes. */
const VECTORS = `
alter table more_types add column v vector;
create table vectors (id bigserial primary key, v vector(3), free vector, half halfvec(2), sparse sparsevec(1000), bits bit(8));
insert into vectors (v, free, half, sparse, bits) values
  ('[0,-0,1]', '[1e-45,3.4028235e38]', '[65504,-6e-8]', '{1:1e-45,1000:-3}/1000', B'10101010'),
  ('[0.1,0.2,0.3]', '[1]', '[0.1,-0]', '{}/1000', B'00000000'),
  (null, null, null, null, null);
insert into vectors (v) select array[i, -i, 1.0 / i]::vector(3) from generate_series(1, 300) i;
create index on vectors using ivfflat (v vector_cosine_ops) with (lists = 5);
create index on vectors using hnsw (half halfvec_l2_ops);
create index on vectors using hnsw (bits bit_hamming_ops);
delete from vectors where id % 7 = 0;
create table article_like (id bigserial primary key, embedding vector(1536));
insert into article_like (embedding) select array_agg(sin(i * 1536 + j))::real[]::vector from generate_series(1, 40) i, generate_series(1, 1536) j group by i;
`;

/** What is committed between a base and the moment that is asked for; and what spoils it. */
const MORE_VECTORS = `
insert into vectors (v, free, half, sparse, bits) select array[i, i / 7.0, -i]::vector(3), array[i]::vector, '[1,2]', '{1:1}/1000', B'11110000' from generate_series(1, 50) i;
update vectors set v = '[3,2,1]' where id % 5 = 0;
delete from article_like where id % 3 = 0;
insert into article_like (embedding) select array_agg(cos(j))::real[]::vector from generate_series(1, 1536) j;
`;
const SPOILT = "delete from vectors; drop table article_like; update messages set content = 'spoilt'";

/** Without what no log has as it was: rows of an unlogged table, and where sequences stand, which the log has up to 32 numbers further on. */
function logged(lines: readonly string[]): string[] {
  const from = lines.indexOf("COPY public.unlogged (id, v) FROM stdin;");
  const end = lines.indexOf("\\.", from);
  assert.ok(from > 0 && end >= from);
  return [...lines.slice(0, from), ...lines.slice(end)].map((line) => {
    return line.replace(/^(SELECT pg_catalog\.setval\(.*), \d+, true\);$/, "$1");
  });
}

/** Makes the tests of a major. */
export function testWithPgvector(major: NewerMajor): void {
  let round: Round;
  let repository: Repository;
  let point: string;
  let withoutHostileValues: string[];

  before(async () => {
    const { programs } = await newerPostgres(major);
    // Chatkeep looks for the client programs, and for a server to drill in, where a person's shell would.
    process.env["PATH"] = `${programs}:${process.env["PATH"] ?? ""}`;
    const desk = await openDesk({
      isCheckout: true,
      hasProcesses: true,
      size: { messages: 2_000, conversations: 150, files: 30 },
      server: { programs, settings: [...FOLLOWED] },
    });
    round = { desk, programs };
    withoutHostileValues = await makeHostile(desk.installation, VECTORS);
    await onDatabase(desk.installation, async (client) => await client.query("select lo_from_bytea(0, '\\x00ff')"));
    ({ repository } = await makeCheapToOpen(desk));
    point = await backUpAndTell(round);
  });

  after(async () => await round.desk[Symbol.asyncDispose]());

  test("the installation has real vector columns, and every type was tried with hostile values", async () => {
    assert.equal(round.desk.server.major, major);
    const [row] = await round.desk.server.query(
      `select count(*)::int as columns from pg_attribute a join pg_class c on c.oid = a.attrelid
       where c.relkind = 'r' and a.atttypid = 'vector'::regtype and format_type(a.atttypid, a.atttypmod) = 'vector(1536)'
         and c.relname <> 'article_like'`,
      round.desk.installation.database.database,
    );
    assert.deepEqual(row, { columns: 2 });
    assert.deepEqual(withoutHostileValues, []);
  });

  test("pg_dump says the same of the restored database, line for line", async () => {
    await restoreAndCompare(round, point);
  });

  test("a drill proves the point in a server of its major with pgvector", async () => {
    await prove(round, point, "of_settled");
  });

  test("exported for its own pg_restore, as a file and as a folder, it is the same database again", async () => {
    const { desk, programs } = round;
    for (const format of ["custom", "directory"]) {
      const path = join(desk.root, format);
      await desk.summary(["export", point, path, "--only", "database", "--format", format]);
      const target = await desk.server.createDatabase(`from_${format}`);
      const at = ["-h", target.host, "-p", String(target.port), "-U", target.user, "-d", target.database];
      await mustRun(join(programs, "pg_restore"), ["--no-owner", "--no-acl", "-e", "-j", "2", ...at, path]);
      await assertSameDatabase(desk.installation.database, target, { programs });
    }
  });

  test("a moment comes back with its vectors, in a server that has pgvector; one that lacks it is refused before anything is done", async () => {
    const { desk, programs } = round;
    const [own] = (await listPoints(reopen(repository), { signal })).points;
    const installation = { id: own?.installationId ?? "", name: "desk" };
    const { database } = desk.installation;
    const protection = await protect(desk.server, installation, { programs, database: database.database });
    await onDatabase(desk.installation, async (client) => await client.query(MORE_VECTORS));
    const moment = await serverTime(desk.server);
    const asOf = logged(await dumpLines(database, { programs }));
    await onDatabase(desk.installation, async (client) => await client.query(SPOILT));
    await protection.finish(reopen(repository));

    // npm's server of the same major has no extension but PostgreSQL's own.
    const config = `${await readFile(desk.config, "utf8")}\nstate-dir: ${join(desk.root, "state")}\n`;
    const { folder } = await embeddedPostgres(major);
    await writeFile(desk.config, `${config}drill: { servers: [embedded], embedded: "${folder}" }\n`);
    const before = await readFolder(desk.repository);
    const target = await desk.server.createDatabase("of a moment");
    const url = `postgres://postgres@${target.host}:${target.port}/of%20a%20moment`;
    const restore = ["restore", moment, "--only", "database", "--database-url", url, "--yes"];
    const refused = await desk.chatkeep(restore);
    assert.equal(refused.status, 1, refused.stderr);
    const [error = "", ...others] = refused.stderr.match(/^error: .*$/gm) ?? [];
    assert.match(
      error,
      new RegExp(`there is no server to recover in: PostgreSQL ${major} with .*\\bvector\\b.* is needed$`),
    );
    assert.deepEqual(others, []);
    const lacks = `lacks the extension vector, .* Install the package postgresql-${major}-pgvector`;
    assert.match(refused.stderr, new RegExp(`^hint: .*${lacks}`, "m"));
    assert.deepEqual(await readFolder(desk.repository), before);
    await writeFile(desk.config, config);

    await prove(round, moment, "of_settled");
    const restored = await desk.chatkeep(restore);
    // Its own tables that are in no log are told, and nothing else.
    assert.equal(restored.status, 3, restored.stderr);
    assert.deepEqual(
      restored.stdout.match(/^(?:alarm|warning): .*$/gm)?.map((line) => /unlogged table/.test(line)),
      [true],
    );
    assert.deepEqual(logged(await dumpLines(target, { programs })), asOf);
  });
}
