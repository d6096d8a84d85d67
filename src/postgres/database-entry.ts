/** What belongs to a database's entry in the server's catalogue, and not to its content. */
import type { Connection } from "./connect.ts";
import { quoteIdentifier, quoteLiteral } from "./names.ts";
import { sqlState, SQLSTATE } from "./server-errors.ts";

/**
 * Gives a new database what belongs to a database's entry and not to its content: the owner, settings (for all roles and
 * for single ones), connection limit and rights of the one whose place it takes.
 * @returns the settings that our role may not give it, as `name = value`.
 */
export async function copyDatabaseEntry(
  connection: Connection,
  { from, to }: { from: string; to: string },
): Promise<string[]> {
  const lacking: string[] = [];
  const target = quoteIdentifier(to);
  const [entry] = await connection.query<{ owner: string; connections: number; acl: boolean }>(
    `select pg_catalog.pg_get_userbyid(datdba) as owner, datconnlimit as connections, datacl is not null as acl
     from pg_catalog.pg_database where datname = ${quoteLiteral(from)}`,
  );
  if (entry === undefined) return lacking;
  const settings = await connection.query<{ role: string | null; name: string; value: string }>(
    `select case when s.setrole = 0 then null else pg_catalog.pg_get_userbyid(s.setrole) end as role,
       pg_catalog.split_part(c, '=', 1) as name, pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1) as value
     from pg_catalog.pg_db_role_setting s join pg_catalog.pg_database d on d.oid = s.setdatabase, pg_catalog.unnest(s.setconfig) c
     where d.datname = ${quoteLiteral(from)} order by 1 nulls first, 2`,
  );
  const grants = await connection.query<{ role: string; right: string; grantable: boolean }>(
    `select case when a.grantee = 0 then 'public' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end as role,
       a.privilege_type as right, a.is_grantable as grantable
     from pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a where d.datname = ${quoteLiteral(from)}`,
  );
  await connection.query("begin");
  try {
    for (const { role, name, value } of settings) {
      const whose = role === null ? `database ${target}` : `role ${quoteIdentifier(role)} in database ${target}`;
      const parameter = name.split(".").map(quoteIdentifier).join(".");
      await connection.query("savepoint setting");
      try {
        // What is in force in our session is written as the server itself would: some settings are lists.
        await connection.query(
          `select pg_catalog.set_config(${quoteLiteral(name)}, ${quoteLiteral(value)}, true); alter ${whose} set ${parameter} from current`,
        );
        await connection.query("release savepoint setting");
      } catch (error) {
        if (sqlState(error) !== SQLSTATE.denied) throw error;
        await connection.query("rollback to savepoint setting");
        lacking.push(`${name} = ${value}${role === null ? "" : ` (role ${role})`}`);
      }
    }
    if (entry.connections >= 0)
      await connection.query(`alter database ${target} connection limit ${entry.connections}`);
    if (entry.acl) {
      await connection.query(`revoke all on database ${target} from public`);
      for (const { role, right, grantable } of grants) {
        await connection.query(
          `grant ${right} on database ${target} to ${role}${grantable ? " with grant option" : ""}`,
        );
      }
    }
    await connection.query(`alter database ${target} owner to ${quoteIdentifier(entry.owner)}`);
    await connection.query("commit");
    return lacking;
  } catch (error) {
    await connection.query("rollback").catch(() => {});
    throw error;
  }
}
