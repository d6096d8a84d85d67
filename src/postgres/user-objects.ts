/** Conditions of SQL that tell what people made from what the server or an extension brings. */

/** Schemas that are the system's, and temporary ones. `n` is pg_namespace. */
export const USER_SCHEMAS = `n.nspname <> 'information_schema' and n.nspname !~ '^pg_'`;

/** True for what an extension brings itself. */
export function ownedByExtension(catalog: string, oid: string): string {
  return `exists (select from pg_catalog.pg_depend x where x.classid = 'pg_catalog.${catalog}'::pg_catalog.regclass
    and x.objid = ${oid} and x.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass and x.deptype = 'e')`;
}
