/** What a server says of itself that decides how its log can be followed. Every role may ask; what is kept back is left out. */
import type { Connection } from "./connect.ts";
import { ownSlots } from "./replication-slots.ts";

export interface RoleFacts {
  readonly name: string;
  readonly isSuperuser: boolean;
  readonly mayReplicate: boolean;
  /** How the server keeps its password; undefined where our role may not know. */
  readonly password: "scram-sha-256" | "md5" | "none" | undefined;
}

export interface ReplicationFacts {
  readonly major: number;
  readonly version: string;
  readonly isStandby: boolean;
  /** `minimal` has not enough in it. */
  readonly walLevel: string;
  /** `max_wal_senders`, and how many run for others. */
  readonly senders: { readonly most: number; readonly used: number };
  /** `max_replication_slots`, and how many there are of others. */
  readonly slots: { readonly most: number; readonly used: number };
  /** A slot of the installation that was asked about is read from. */
  readonly isFollowed: boolean;
  /** What the server keeps at most for slots; undefined: whatever they ask for, until its disk is full. */
  readonly slotKeepBytes: number | undefined;
  /** What it keeps for whoever has no slot. */
  readonly keepBytes: number;
  readonly segmentBytes: number;
  /** In seconds; 0: a server is never taken for dead. */
  readonly senderTimeoutSeconds: number;
  /** From PostgreSQL 17 on. */
  readonly summarizesWal: boolean;
  readonly hasChecksums: boolean;
  /** Undefined where our role may not know. */
  readonly hbaFile: string | undefined;
  /** How new passwords are kept: `scram-sha-256` or `md5`. */
  readonly passwordEncryption: string;
  /** Whose confirmation a commit waits for. */
  readonly synchronousStandbys: string;
  readonly role: RoleFacts;
  /** The service whose administrators' role the server has; undefined where it is nobody's that is known. */
  readonly service: string | undefined;
  /** Without the two that every server has. */
  readonly tablespaces: readonly { readonly name: string; readonly location: string }[];
  readonly databases: readonly { readonly name: string; readonly encoding: string }[];
}

/** Only a superuser may ask: for others it would be an error in the server's log. The password itself stays there. */
const PASSWORD = `
  select case when rolpassword is null then 'none' when rolpassword ~ '^md5[0-9a-f]{32}$' then 'md5' else 'scram-sha-256' end as kept
  from pg_catalog.pg_authid where rolname = current_user`;

async function readPassword(connection: Pick<Connection, "query">): Promise<RoleFacts["password"]> {
  const [row] = await connection.query<{ kept: NonNullable<RoleFacts["password"]> }>(PASSWORD);
  return row?.kept;
}

/** Roles that services give to their customers' administrators, and that no other server has. */
const SERVICES: Readonly<Record<string, string>> = {
  rds_superuser: "Amazon RDS",
  cloudsqlsuperuser: "Google Cloud SQL",
  alloydbsuperuser: "Google AlloyDB",
  azure_pg_admin: "Azure Database",
  neon_superuser: "Neon",
};

interface FactsRow {
  number: number;
  version: string;
  standby: boolean;
  settings: Record<string, string | undefined>;
  senders: number;
  slots: number;
  followed: boolean;
  role: string;
  superuser: boolean;
  replication: boolean;
  services: string[];
  tablespaces: { name: string; location: string }[];
  databases: { name: string; encoding: string }[];
  [key: string]: unknown;
}

const SETTINGS = [
  "wal_level",
  "max_wal_senders",
  "max_replication_slots",
  "max_slot_wal_keep_size",
  "wal_keep_size",
  "wal_segment_size",
  "wal_sender_timeout",
  "summarize_wal",
  "data_checksums",
  "hba_file",
  "password_encryption",
  "synchronous_standby_names",
] as const;

const FACTS = `
  with own as (select o.slot_name, o.active_pid from pg_catalog.pg_replication_slots o where o.slot_name::text ~ $3)
  select pg_catalog.current_setting('server_version_num')::int as number,
    pg_catalog.current_setting('server_version') as version,
    pg_catalog.pg_is_in_recovery() as standby,
    (select pg_catalog.json_object_agg(s.name, s.setting) from pg_catalog.pg_settings s where s.name = any ($1)) as settings,
    (select pg_catalog.count(*)::int from pg_catalog.pg_stat_replication t
      where not exists (select from own where own.active_pid = t.pid)) as senders,
    (select pg_catalog.count(*)::int from pg_catalog.pg_replication_slots t
      where not exists (select from own where own.slot_name = t.slot_name)) as slots,
    exists (select from own where own.active_pid is not null) as followed,
    r.rolname as role, r.rolsuper as superuser, r.rolreplication as replication,
    (select coalesce(pg_catalog.json_agg(s.rolname), '[]') from pg_catalog.pg_roles s where s.rolname = any ($2)) as services,
    (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('name', t.spcname, 'location', pg_catalog.pg_tablespace_location(t.oid))
        order by t.spcname), '[]')
      from pg_catalog.pg_tablespace t where t.spcname not in ('pg_default', 'pg_global')) as tablespaces,
    (select pg_catalog.json_agg(pg_catalog.json_build_object('name', d.datname, 'encoding', pg_catalog.pg_encoding_to_char(d.encoding))
        order by d.datname)
      from pg_catalog.pg_database d) as databases
  from pg_catalog.pg_roles r where r.rolname = current_user`;

const MIB = 1024 ** 2;

/**
 * @param own name of the installation's permanent slot: what it has at the server already is not in its own way.
 * @throws Failure of the `database/` codes.
 */
export async function readReplicationFacts(
  connection: Pick<Connection, "query">,
  own?: string,
): Promise<ReplicationFacts> {
  const [row] = await connection.query<FactsRow>(FACTS, [
    [...SETTINGS],
    Object.keys(SERVICES),
    own === undefined ? null : ownSlots(own),
  ]);
  if (row === undefined) throw new TypeError("the server did not say what it is");
  const { settings } = row;
  const text = (name: (typeof SETTINGS)[number]) => settings[name] ?? "";
  const number = (name: (typeof SETTINGS)[number]) => Number(settings[name] ?? 0);
  // In megabytes; −1 for no bound.
  const slotKeep = number("max_slot_wal_keep_size");
  const [service] = row.services;
  return {
    major: Math.floor(row.number / 10_000),
    version: row.version.split(" ")[0] ?? row.version,
    isStandby: row.standby,
    walLevel: text("wal_level"),
    senders: { most: number("max_wal_senders"), used: row.senders },
    slots: { most: number("max_replication_slots"), used: row.slots },
    isFollowed: row.followed,
    slotKeepBytes: slotKeep < 0 ? undefined : slotKeep * MIB,
    keepBytes: number("wal_keep_size") * MIB,
    segmentBytes: number("wal_segment_size"),
    senderTimeoutSeconds: number("wal_sender_timeout") / 1000,
    summarizesWal: text("summarize_wal") === "on",
    hasChecksums: text("data_checksums") === "on",
    hbaFile: text("hba_file") || undefined,
    passwordEncryption: text("password_encryption") || "scram-sha-256",
    synchronousStandbys: text("synchronous_standby_names"),
    role: {
      name: row.role,
      isSuperuser: row.superuser,
      mayReplicate: row.superuser || row.replication,
      password: row.superuser ? await readPassword(connection) : undefined,
    },
    service: service === undefined ? undefined : SERVICES[service],
    tablespaces: row.tablespaces,
    databases: row.databases,
  };
}
