/**
 * A next base of which the server sends what changed, against one of which it sends everything: into the same repository, which has the
 * base before. PostgreSQL 17, as npm's embedded server has it.
 */
import { cpSync } from "node:fs";
import { join } from "node:path";
import { embeddedPostgres } from "../test/harness/embedded.ts";
import { startPostgres, type TestServer } from "../test/harness/postgres.ts";
import { mustRun } from "../test/harness/run.ts";
import { temporaryFolder } from "../test/harness/temporary.ts";
import { compare, print, remove, type Side } from "./measure.ts";

const PROTECTING = join(import.meta.dirname, "protect-process.ts");
const MIB = 1024 ** 2;
/** Of the table: 250 bytes each, with its index. */
const ROWS = Number(process.env["BENCH_BASE_ROWS"] ?? "2000000");
/** A page in so many is changed. */
const ONE_IN = 100;

interface Figures {
  added: number;
  bytes: number;
  sent: number;
}

export async function incremental(runs: number): Promise<void> {
  const { programs } = await embeddedPostgres(17);
  await using folder = await temporaryFolder();
  await using server = await startPostgres({
    programs,
    settings: ["fsync=on", "full_page_writes=on", "max_wal_size=4GB", "summarize_wal=on"],
  });
  await server.query(
    `create table bench as select g as id, md5(g::text) as a, repeat(md5((g / 8)::text), 6) as b from generate_series(1, ${ROWS}) g`,
  );
  await server.query("alter table bench add primary key (id)");
  const [before, place] = [folder.at("before"), folder.at("repository")];
  const { port, user } = server.address;
  const command = (...how: string[]): [string, ...string[]] => {
    return [process.execPath, PROTECTING, "base", String(port), user, place, ...how];
  };
  const prepare = () => {
    remove(place);
    cpSync(before, place, { recursive: true });
  };
  const [, ...first] = command();
  await mustRun(process.execPath, first);
  const pages = "pg_relation_size('bench') / current_setting('block_size')::int";
  for (const [name, page] of [
    ["that lie together", "g"],
    ["here and there", `g * ${ONE_IN} + abs(hashint8(g)) % ${ONE_IN}`],
  ] as const) {
    remove(before);
    cpSync(place, before, { recursive: true });
    await change(server, `(select format('(%s,1)', ${page})::tid from generate_series(0, ${pages} / ${ONE_IN} - 1) g)`);
    const sides: Side[] = [
      { name: "what changed", command: command("built"), prepare },
      { name: "everything", command: command(), prepare },
    ];
    print(`A next base after 1 % of the pages, ${name}`, await compare(sides, runs, { serverPid: server.pid }));
    for (const side of sides) {
      await side.prepare?.();
      const [program, ...args] = side.command;
      const { stdout } = await mustRun(program, args);
      const [added = 0, bytes = 0, sent = 0] = stdout.trim().split(" ").map(Number);
      tell(side.name, { added, bytes, sent });
    }
  }
}

async function change(server: TestServer, rows: string): Promise<void> {
  await server.query(`update bench set a = upper(a) where ctid in ${rows}`);
  await server.query("checkpoint");
}

function mib(bytes: number): string {
  return (bytes / MIB).toFixed(1);
}

function tell(name: string, { added, bytes, sent }: Figures): void {
  process.stdout.write(`${name}: ${mib(sent)} of ${mib(bytes)} MiB sent, ${mib(added)} MiB added\n\n`);
}
