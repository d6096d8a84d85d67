/**
 * Large objects: values that lie in no table, named by a number. They are read in parts of 64 KiB as COPY text, one part
 * a line (`number ⇥ offset ⇥ hex`), and cut into ranges of 2^k numbers. Everything goes through the functions that any
 * role may call: the table itself is a superuser's alone.
 */
import { listSome, plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { Connection } from "./connect.ts";
import { quoteLiteral } from "./names.ts";
import { chooseK, rangeOf, type RangePlan } from "./ranges.ts";

/** In the place of a table's plan: the ranges are of large objects. */
export const LARGE_OBJECTS = "large-objects";

export interface LargeObjectsPlan {
  /** Those that our role may read. */
  objects: number;
  /** About how long their text is. */
  bytes: number;
  /** 2^k numbers are a range; null where there are none. */
  k: number | null;
  ranges: RangePlan[];
  /** SQL that says again what people said of them; empty where nobody did. */
  commentsSql: string;
}

/** Numbers have 32 bits. */
const LAST = 2n ** 32n - 1n;

/** What the server asks before it lets a role read one; `m` is pg_largeobject_metadata. */
const MAY_READ = `(pg_catalog.current_setting('lo_compat_privileges')::bool
    or (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user)
    or exists (select from pg_catalog.aclexplode(coalesce(m.lomacl, pg_catalog.acldefault('L', m.lomowner))) a
      where a.privilege_type = 'SELECT' and (a.grantee = 0 or pg_catalog.pg_has_role(a.grantee, 'USAGE'))))`;

/** Plans as the connection's snapshot sees them. @param earlier how an earlier point cut them: ranges stay where they are. */
export async function planLargeObjects(
  connection: Connection,
  earlier?: { k: number | null },
): Promise<LargeObjectsPlan> {
  const [row] = await connection.query<{ objects: string; bytes: string }>(
    `select pg_catalog.count(*)::text as objects,
       pg_catalog.pg_relation_size('pg_catalog.pg_largeobject')::text as bytes
     from pg_catalog.pg_largeobject_metadata m where ${MAY_READ}`,
  );
  const objects = Number(row?.objects ?? 0);
  if (objects === 0) return { objects, bytes: 0, k: null, ranges: [], commentsSql: "" };
  const commentsSql = await readComments(connection);
  const bytes = 2 * Number(row?.bytes ?? 0);
  const kept = earlier?.k ?? undefined;
  if (kept !== undefined) {
    const buckets = await listBuckets(connection, kept, LIMITS.tableRanges);
    if (buckets !== undefined)
      return { objects, bytes, k: kept, ranges: buckets.map((one) => rangeOf(one, kept)), commentsSql };
  }
  const atMost = Math.max(16, Math.ceil((4 * bytes) / LIMITS.rangeTargetBytes));
  for (let k = Math.min(32, chooseK(bytes / objects)); ; k = Math.min(32, k + 2)) {
    const buckets = await listBuckets(connection, k, atMost);
    if (buckets !== undefined) return { objects, bytes, k, ranges: buckets.map((one) => rangeOf(one, k)), commentsSql };
  }
}

/** The buckets that have any, in order; undefined when they are more than `atMost`. */
async function listBuckets(connection: Connection, k: number, atMost: number): Promise<bigint[] | undefined> {
  const rows = await connection.query<{ bucket: string }>(
    `select bucket::text as bucket from (select distinct m.oid::int8 >> ${k} as bucket
       from pg_catalog.pg_largeobject_metadata m where ${MAY_READ}) b order by b.bucket limit ${atMost + 1}`,
  );
  return rows.length > atMost ? undefined : rows.map(({ bucket }) => BigInt(bucket));
}

/**
 * `COPY (SELECT …) TO STDOUT` for a range. An object without content has one line. Each is closed as soon as its size
 * is known: the server looks through all open ones for each that it opens.
 */
export function copyLargeObjects({ from = 0n, to = LAST + 1n }: RangePlan): string {
  const last = to - 1n > LAST ? LAST : to - 1n;
  const part = LIMITS.largeObjectPartBytes;
  return `copy (
    select s.oid, p.n * ${part}, pg_catalog.encode(pg_catalog.lo_get(s.oid, p.n * ${part}, ${part}), 'hex')
    from (select f.oid, f.size, pg_catalog.lo_close(f.fd)
      from (select o.oid, o.fd, pg_catalog.lo_lseek64(o.fd, 0, 2) as size
        from (select m.oid, pg_catalog.lo_open(m.oid, 262144) as fd from pg_catalog.pg_largeobject_metadata m
          where m.oid between '${from}' and '${last}' and ${MAY_READ} offset 0) o offset 0) f offset 0) s
    cross join lateral pg_catalog.generate_series(0, greatest(s.size - 1, 0) / ${part}) p(n)
    order by s.oid, p.n) to stdout`;
}

async function readComments(connection: Connection): Promise<string> {
  const rows = await connection.query<{ oid: string; text: string }>(
    `select d.objoid::text as oid, d.description as text from pg_catalog.pg_description d
     join pg_catalog.pg_largeobject_metadata m on m.oid = d.objoid
     where d.classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass and ${MAY_READ} order by d.objoid`,
  );
  return rows.map(({ oid, text }) => `COMMENT ON LARGE OBJECT ${oid} IS ${quoteLiteral(text)};\n`).join("");
}

/** Those that our role may not read are not saved. */
export async function largeObjectFindings(connection: Connection): Promise<Finding[]> {
  const rows = await connection.query<{ oid: string }>(
    `select m.oid::text as oid from pg_catalog.pg_largeobject_metadata m where not ${MAY_READ} order by m.oid`,
  );
  const [first] = rows;
  if (first === undefined) return [];
  const role = connection.address.user;
  return [
    {
      kind: "large-objects-denied",
      level: "alarm",
      message: `'${role}' may not read ${plural(rows.length, "large object")}, which ${rows.length === 1 ? "is" : "are"} not saved: ${listSome(rows.map(({ oid }) => oid))}`,
      hint: `Let their owner run, for each: GRANT SELECT ON LARGE OBJECT ${first.oid} TO "${role}"; or use the role that owns them.`,
    },
  ];
}
