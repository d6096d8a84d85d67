/**
 * Links to uploaded files that stand in texts with a whole address: help-centre articles, e-mails, signatures. They name the
 * address that Chatwoot had when they were written, and go on doing so after a change of domain.
 */
import { type Environment } from "./environment.ts";
import { findSignedBlobIds, verifySignedBlobId } from "./signed-id.ts";

/** Texts looked at in each table, the oldest and the newest: enough for a sign, and no scan of a large table. */
const ROWS_LOOKED_AT = 10_000;
const HOSTS_TAKEN = 20;
/** Of each host: one that is ours is enough. */
const TOKENS_TAKEN = 5;

const SOURCES = [
  { table: "articles", column: "content", what: "articles" },
  { table: "messages", column: "content_attributes", what: "e-mails" },
  { table: "users", column: "message_signature", what: "signatures" },
] as const;

const LINK = String.raw`https?://([^/[:space:]"''<>()\\]{1,255})/rails/active_storage/[a-z]{1,20}/(?:redirect/|proxy/)?(eyJfcmFpbHMi[A-Za-z0-9+/_%=-]{20,255}--[0-9a-f]{40,64})`;

/** One table's links by the host that they name. */
export interface LinkedHost {
  host: string;
  /** Signed file ids of a few of these links. */
  tokens: string[];
}

/** Gives rows of {@link LinkedHost}. */
export interface LinksQuery {
  what: string;
  query: string;
}

/** @param has Whether the database has a column: older releases lack some. */
export function linksQueries(has: (table: string, column: string) => boolean): LinksQuery[] {
  return SOURCES.filter(({ table, column }) => has(table, column)).map(({ table, column, what }) => ({
    what,
    query: `select lower(m[1]) as host, (array_agg(distinct m[2]))[1:${TOKENS_TAKEN}] as tokens from (
  (select ${column}::text as text from public.${table} order by id desc limit ${ROWS_LOOKED_AT})
  union all
  (select ${column}::text from public.${table} order by id limit ${ROWS_LOOKED_AT})) r,
  regexp_matches(r.text, '${LINK}', 'g') m
 where r.text like '%/rails/active_storage/%' group by 1 order by count(*) desc limit ${HOSTS_TAKEN}`,
  }));
}

/** Host and port of an address, as a link has them; undefined for what is none. */
function hostOf(address: string | undefined): string | undefined {
  const host = URL.parse(address ?? "")?.host;
  return host === "" ? undefined : host;
}

/**
 * The hosts that are not the ones which the environment says and whose links this very Chatwoot signed: another's,
 * which somebody pasted, are none of its business. None where the environment does not say what it needs to.
 */
export function strangeHosts(environment: Environment, found: readonly LinkedHost[]): string[] {
  const own = hostOf(environment.get("FRONTEND_URL"));
  const secret = environment.get("SECRET_KEY_BASE") ?? "";
  if (own === undefined || secret === "") return [];
  const known = new Set([own, hostOf(environment.get("HELPCENTER_URL"))]);
  return found
    .filter(({ host }) => !known.has(hostOf(`https://${host}`)) && !known.has(hostOf(`http://${host}`)))
    .filter(({ tokens }) =>
      tokens.some((text) => findSignedBlobIds(text).some(({ token }) => verifySignedBlobId(token, secret))),
    )
    .map(({ host }) => host);
}
