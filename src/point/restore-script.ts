/**
 * `restore.sh`: puts a point back with psql and pg_restore and nothing of ours. It lies in every point, knows what
 * must be in it, and says so when something is not. POSIX shell; whoever runs it may be alone, tired and in a hurry.
 */
import {
  encodeName,
  GRANTS_SQL,
  LARGE_OBJECTS,
  LARGE_OBJECTS_SQL,
  ROLES_SQL,
  SCHEMA_DUMP,
  SEQUENCES_SQL,
  tableFolder,
} from "./layout.ts";
import { countMissing, type Manifest, type ServiceEntry, type TableEntry, tablesLackingRows } from "./manifest.ts";

/** A word for a POSIX shell. */
export function quoteShell(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The same for people to read: as it is where that is safe, else in quotes. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : quoteShell(text);
}

/** An identifier for PostgreSQL. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

const HEAD = `#!/bin/sh
# Puts this restore point back with psql and pg_restore alone; RESTORE.md beside this file says when to do what.
#
#   PGDATABASE=… sh restore.sh [--database] [--with-roles] [--storage DIR] [--jobs N]
#
# --database      loads the database into PGDATABASE, which must exist and be empty
# --with-roles    makes the roles that are lacking, without passwords, and gives owners and grants as they were; what
#                 the role may not do is said and left out
# --storage DIR   puts the uploaded files into DIR, laid out as Chatwoot wants them; what is there already is kept
# --jobs N        indexes built at once (default 2)
#
# The server and the password are what psql takes: PGHOST, PGPORT, PGUSER, PGPASSWORD or PGPASSFILE.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
database=no roles=no storage= jobs=2 work= begun=no

fail() {
  printf 'restore.sh: %s\\n' "$*" >&2
  exit 1
}
usage() {
  printf 'restore.sh: %s\\nusage: PGDATABASE=… sh restore.sh [--database] [--with-roles] [--storage DIR] [--jobs N]   (see RESTORE.md)\\n' "$*" >&2
  exit 2
}
finish() {
  status=$?
  if [ -n "$work" ]; then rm -rf -- "$work"; fi
  if [ "$status" -ne 0 ] && [ "$begun" = yes ]; then
    printf 'restore.sh: not finished: the database "%s" holds only a part. Drop it, make it again, then start over.\\n' "$PGDATABASE" >&2
  fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

while [ $# -gt 0 ]; do
  case $1 in
    --database) database=yes ;;
    --with-roles) roles=yes ;;
    --storage | --jobs)
      [ $# -ge 2 ] && [ -n "$2" ] || usage "$1 needs a value"
      if [ "$1" = --storage ]; then storage=$2; else jobs=$2; fi
      shift ;;
    *) usage "unknown option '$1'" ;;
  esac
  shift
done
case $jobs in *[!0-9]* | 0) usage "--jobs needs a number" ;; esac
if [ "$roles" = yes ] && [ "$database" = no ]; then usage "--with-roles needs --database"; fi
if [ "$database" = no ] && [ -z "$storage" ]; then usage "say --database, --storage DIR, or both"; fi
`;

/** The settings that the rows' text was written under, and none that a site may have set and that would be in the way. */
const SETTINGS = [
  "statement_timeout = 0",
  "lock_timeout = 0",
  "idle_in_transaction_session_timeout = 0",
  "search_path = ''",
  "DateStyle = 'ISO, MDY'",
  "IntervalStyle = postgres",
  "TimeZone = 'UTC'",
  "lc_monetary = 'C'",
  "standard_conforming_strings = on",
  "xmloption = content",
  "synchronous_commit = off",
];

/** What an empty database has not: relations, functions and types that no extension brought. */
const CONTENT = `select
  (select count(*) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c') and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
    and not exists (select from pg_catalog.pg_depend d where d.objid = c.oid and d.deptype = 'e'))
  + (select count(*) from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
    and not exists (select from pg_catalog.pg_depend d where d.objid = p.oid and d.deptype = 'e'))
  + (select count(*) from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
    where t.typtype in ('d', 'e', 'r') and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
    and not exists (select from pg_catalog.pg_depend d where d.objid = t.oid and d.deptype = 'e'))
  + (select count(*) from pg_catalog.pg_largeobject_metadata)`;

/** Comments on extensions that are there already: only their owner may write those. As commands for sed. */
const COMMENTS = String.raw`select format('/^[0-9]*; [0-9]* [0-9]* COMMENT - EXTENSION "\{0,1\}%s"\{0,1\} *$/d', extname) from pg_catalog.pg_extension`;

/** What most roles may not make and nothing else needs, as `pg_restore --list` has it: an extended regular expression. */
const LAST = "^[0-9]+; [0-9]+ [0-9]+ (COMMENT - )?(EVENT TRIGGER|PUBLICATION|SUBSCRIPTION|SECURITY LABEL)";

function databaseFunctions({ server }: Manifest): string {
  const encoding = server.encoding === "SQL_ASCII" ? "SQL_ASCII" : "UTF8";
  return `
export PGCLIENTENCODING=${encoding} PGAPPNAME=restore.sh
settings=${quoteShell(SETTINGS.map((setting) => `SET ${setting};`).join("\n"))}

ask() {
  psql -X -q -A -t -v ON_ERROR_STOP=1 -c "$1"
}

load() { # folder, table, columns, rows that it must have
  printf '  %s: %s rows\\n' "$2" "$4"
  # All of it is one transaction, and what psql says at the end tells whether it came to its end.
  said=$({
    printf '%s\\nBEGIN;\\n' "$settings"
    for file in "$here/database/data/$1"/*.copy; do
      printf 'COPY %s %s FROM STDIN;\\n' "$2" "$3"
      cat "$file" || exit 1
      printf '\\\\.\\n'
    done
    printf 'COMMIT;\\n'
  } | psql -X -v ON_ERROR_STOP=1) || fail "$2 could not be loaded"
  loaded=0 last=
  for last in $said; do
    case $last in *[!0-9]*) ;; *) loaded=$((loaded + last)) ;; esac
  done
  if [ "$last" != COMMIT ] || [ "$loaded" -ne "$4" ]; then
    fail "$2 got $loaded rows of $4: is $here complete? Take it out of the repository again"
  fi
}

restore_schema() { # section
  pg_restore --exit-on-error --no-owner --no-acl --no-tablespaces "--section=$1" -j "$2" -L "$work/list" -d "$target" "$here/database/${SCHEMA_DUMP}" ||
    fail "the schema ($1) could not be restored"
}

restore_last() {
  if [ ! -s "$work/last" ]; then return; fi
  echo "event triggers, publications, subscriptions and security labels"
  pg_restore --no-owner --no-acl -L "$work/last" -d "$target" "$here/database/${SCHEMA_DUMP}" ||
    printf 'restore.sh: some of them were refused; the database is whole without them\\n' >&2
}
`;
}

/** A literal for PostgreSQL. */
function quoteLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

function rolesPart({ roles = [] }: Manifest): string {
  const lines = roles.map(({ name }, at) => `  role ${at + 1} ${quoteShell(quoteLiteral(name))}`);
  return `
role() { # its number in the file, its name
  there=$(ask "SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname = $2") || fail "the server's roles cannot be listed"
  if [ "$there" -gt 0 ]; then return; fi
  sed -n "/^-- role $1 /,/^$/p" "$here/database/${ROLES_SQL}" | psql -X -q
}

make_roles() {
  echo "roles that are lacking"
${lines.length === 0 ? "  :" : lines.join("\n")}
}

give_rights() {
  echo "owners and grants"
  # What the role may not do is printed, and the rest is done.
  psql -X -q -f "$here/database/${GRANTS_SQL}"
}
`;
}

/** A part of one is a line: its number, where the part begins, and its bytes in hexadecimal. */
const LARGE_OBJECTS_FUNCTION = `
load_large_objects() { # how many there must be, and lines of them
  echo "large objects"
  lines=$(cat "$here/database/${LARGE_OBJECTS}"/*.copy | wc -l)
  if [ "$lines" -ne "$2" ]; then fail "$here/database/${LARGE_OBJECTS} is not complete: take the whole restore point out of the repository"; fi
  tab=$(printf '\\t')
  for file in "$here/database/${LARGE_OBJECTS}"/*.copy; do
    {
      printf '%s\\nBEGIN;\\n' "$settings"
      sed -e "s/^\\([0-9]*\\)\${tab}0\${tab}\\([0-9a-f]*\\)$/SELECT pg_catalog.lo_from_bytea('\\1', pg_catalog.decode('\\2', 'hex'));/" \\
        -e "s/^\\([0-9]*\\)\${tab}\\([0-9]*\\)\${tab}\\([0-9a-f]*\\)$/SELECT pg_catalog.lo_put('\\1', \\2, pg_catalog.decode('\\3', 'hex'));/" "$file" || exit 1
      printf 'COMMIT;\\n'
    } | psql -X -q -v ON_ERROR_STOP=1 >/dev/null || fail "large objects could not be loaded"
  done
  if [ -f "$here/database/${LARGE_OBJECTS_SQL}" ]; then
    psql -X -q -v ON_ERROR_STOP=1 -f "$here/database/${LARGE_OBJECTS_SQL}" || fail "large objects could not be described"
  fi
  found=$(ask 'SELECT count(*) FROM pg_catalog.pg_largeobject_metadata') || fail "large objects could not be counted"
  if [ "$found" -ne "$1" ]; then fail "$found large objects of $1 are there: is $here complete? Take it out of the repository again"; fi
}
`;

/** Rows are lacking, so that a foreign key may not hold: it must not keep all that comes after it from being made. */
const KEYS_APART = `
  grep '^[0-9]*; [0-9]* [0-9]* FK CONSTRAINT ' "$work/list" >"$work/keys" || true
  grep -v '^[0-9]*; [0-9]* [0-9]* FK CONSTRAINT ' "$work/list" >"$work/others"
  mv "$work/others" "$work/list"`;
const RESTORE_KEYS = `
  if [ -s "$work/keys" ]; then
    pg_restore --no-owner --no-acl -L "$work/keys" -d "$target" "$here/database/${SCHEMA_DUMP}" ||
      printf 'restore.sh: a foreign key does not hold, since the server could not read all rows when the point was made; it was left out\\n' >&2
  fi`;

function databasePart(manifest: Manifest): string {
  const { server, tables, filledViews, largeObjects } = manifest;
  const lacksRows = tablesLackingRows(manifest).length > 0;
  const rows = tables.filter((table) => table.rows > 0).map((table) => `  ${tableLine(table)}`);
  const views = filledViews.map(
    ({ schema, name }) => `REFRESH MATERIALIZED VIEW ${quoteIdentifier(schema)}.${quoteIdentifier(name)};`,
  );
  return [
    databaseFunctions(manifest),
    rolesPart(manifest),
    ...(largeObjects === undefined ? [] : [LARGE_OBJECTS_FUNCTION]),
    `restore_database() {
  if [ -z "\${PGDATABASE:-}" ]; then fail "set PGDATABASE to the name of an empty database (and PGHOST, PGUSER, PGPASSWORD as needed)"; fi
  for program in psql pg_restore; do
    command -v "$program" >/dev/null || fail "$program is not installed: install postgresql-client-${server.clientMajor} or newer"
  done
  have=$(pg_restore --version | sed 's/[^0-9]*\\([0-9][0-9]*\\).*/\\1/')
  if [ "$have" -lt ${server.clientMajor} ]; then fail "pg_restore $have is too old for this dump: install version ${server.clientMajor} or newer"; fi
  [ -f "$here/database/${SCHEMA_DUMP}" ] || fail "$here/database/${SCHEMA_DUMP} is missing: take the whole restore point out of the repository"
  there=$(ask ${quoteShell(CONTENT)}) || fail "the database '$PGDATABASE' cannot be used"
  if [ "$there" -ne 0 ]; then fail "the database '$PGDATABASE' is not empty, it has $there tables, functions or types already; nothing was changed"; fi
  work=$(mktemp -d)
  # The name alone could be taken for a whole connection string.
  target="dbname='$(printf '%s' "$PGDATABASE" | sed "s/[\\\\\\\\']/\\\\\\\\&/g")'"
  ask ${quoteShell(COMMENTS)} >"$work/installed"
  pg_restore --list "$here/database/${SCHEMA_DUMP}" >"$work/all" || fail "$here/database/${SCHEMA_DUMP} cannot be read"
  sed -f "$work/installed" "$work/all" >"$work/wanted"
  grep -E ${quoteShell(LAST)} "$work/wanted" >"$work/last" || true
  grep -Ev ${quoteShell(LAST)} "$work/wanted" >"$work/list"${lacksRows ? KEYS_APART : ""}
  begun=yes
  if [ "$roles" = yes ]; then make_roles; fi
  echo "tables and types"
  restore_schema pre-data 1
  echo "rows"`,
    ...rows,
    ...(largeObjects === undefined ? [] : [`  load_large_objects ${largeObjects.objects} ${largeObjects.parts}`]),
    `  echo "sequences"
  psql -X -q -v ON_ERROR_STOP=1 -f "$here/database/${SEQUENCES_SQL}" >/dev/null || fail "the sequences could not be set"
  echo "indexes, constraints and triggers"
  restore_schema post-data "$jobs"${lacksRows ? RESTORE_KEYS : ""}`,
    ...(views.length === 0
      ? []
      : [
          `  echo "materialized views"`,
          `  printf '%s\\n' "$settings" ${views.map(quoteShell).join(" ")} | psql -X -q -v ON_ERROR_STOP=1 || fail "a materialized view could not be filled"`,
        ]),
    `  echo "statistics"
  printf 'SET statement_timeout = 0;\\nANALYZE;\\n' | psql -X -q -v ON_ERROR_STOP=1 || fail "ANALYZE failed"
  restore_last
  if [ "$roles" = yes ]; then give_rights; fi
  begun=no
}
`,
  ].join("\n");
}

function tableLine(table: TableEntry): string {
  const name = `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`;
  const columns = table.columns.length === 0 ? "" : `(${table.columns.map(quoteIdentifier).join(", ")})`;
  return `load ${quoteShell(tableFolder(table.schema, table.name))} ${quoteShell(name)} ${quoteShell(columns)} ${table.rows}`;
}

const STORAGE_FUNCTIONS = `
decode() { # sets key: every %XX of a file's name is one character of the blob's key
  key= rest=$1
  while :; do
    case $rest in
      *%??*)
        key=$key\${rest%%"%"*}
        rest=\${rest#*"%"}
        hex=\${rest%"\${rest#??}"}
        rest=\${rest#??}
        key=$key$(printf "\\\\$(printf '%03o' "0x$hex")") ;;
      *) key=$key$rest; return ;;
    esac
  done
}

locate() { # sets path: ab/cd/abcd…, where Chatwoot's Disk service looks for a key
  first=$1 rest=
  case $1 in ???*) rest=\${1#??}; first=\${1%"$rest"} ;; esac
  second=$rest
  case $rest in ???*) second=\${rest%"\${rest#??}"} ;; esac
  path=$first\${second:+/$second}/$1
}

put() { # file, target
  if [ -e "$2" ]; then
    if cmp -s "$1" "$2"; then return; fi
    printf '  kept, although it differs: %s\\n' "$2" >&2
    differs=$((differs + 1))
    return
  fi
  if [ ! -d "\${2%/*}" ]; then mkdir -p "\${2%/*}"; fi
  # Whole or not at all, so that an interrupted run can be started again.
  cp -p "$1" "$2.part" && mv "$2.part" "$2"
}

restore_service() { # folder, how the files are named (disk or key), files that there must be at least
  [ -d "$here/storage/$1" ] || [ "$3" -eq 0 ] || fail "$here/storage/$1 is missing: take the whole restore point out of the repository"
  if [ ! -d "$here/storage/$1" ]; then return; fi
  find "$here/storage/$1" -type f | {
    files=0 differs=0
    while IFS= read -r file; do
      if [ "$2" = disk ]; then
        decode "\${file##*/}"
        locate "$key"
      else
        path=$1/\${file##*/}
      fi
      put "$file" "$storage/$path" || fail "$storage/$path could not be written"
      files=$((files + 1))
    done
    printf '  %s: %s files\\n' "$1" "$files"
    if [ "$files" -lt "$3" ]; then fail "$files files of $3 are below $here/storage/$1: take the whole restore point out of the repository"; fi
    if [ "$differs" -gt 0 ]; then fail "$differs files were there already and differ; they were kept as they are"; fi
  }
}
`;

/** Files that the point certainly has. */
function filesAtLeast(service: ServiceEntry): number {
  return service.blobs - countMissing(service).absent;
}

function storagePart({ storage }: Manifest): string {
  const lines = storage.map((service) => {
    const how = service.kind === "local" ? "disk" : "key";
    return `  restore_service ${quoteShell(encodeName(service.name))} ${how} ${filesAtLeast(service)}`;
  });
  const body = lines.length === 0 ? [`  echo "  this restore point has none"`] : lines;
  return `${STORAGE_FUNCTIONS}
restore_storage() {
  echo "uploaded files"
  mkdir -p -- "$storage"
  storage=$(CDPATH= cd -- "$storage" && pwd)
${body.join("\n")}
}
`;
}

const TAIL = `
if [ "$database" = yes ]; then restore_database; fi
if [ -n "$storage" ]; then restore_storage; fi
echo "done; RESTORE.md says what is left to do"
`;

/** The script of one point; equal manifests make equal scripts. */
export function formatRestoreScript(manifest: Manifest): string {
  return HEAD + databasePart(manifest) + storagePart(manifest) + TAIL;
}
