/**
 * `restore.sh` and `RESTORE.md`: how to put a point back with stock restic, psql and pg_restore and nothing of ours.
 * They lie in every point and name it by host, tags and path, so that they keep working whatever becomes of Chatkeep.
 */
import { installationTag, instantTag, POINT_TAG, SNAPSHOT_PATH, tableFolder } from "./layout.ts";
import type { Manifest, TableEntry } from "./manifest.ts";

/** A word for a POSIX shell. */
function quoteShell(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** An identifier for PostgreSQL. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function tableLine(table: TableEntry): string {
  const name = `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`;
  const columns = table.columns.map(quoteIdentifier).join(", ");
  return `load ${quoteShell(tableFolder(table.schema, table.name))} ${quoteShell(name)} ${quoteShell(columns)}`;
}

/** The options with which stock restic finds exactly this point. */
export function resticSelection(manifest: Manifest): string {
  const tags = [POINT_TAG, installationTag(manifest.installation.id), instantTag(manifest.startedAt)].join(",");
  return `--host ${quoteShell(manifest.installation.name)} --tag ${quoteShell(tags)} --path ${quoteShell(SNAPSHOT_PATH)}`;
}

const SCRIPT_HEAD = `#!/bin/sh
# Puts this restore point back with psql and pg_restore alone. See RESTORE.md beside this file.
#
#   PGHOST=… PGPORT=… PGUSER=… PGPASSWORD=… PGDATABASE=… sh restore.sh [--database] [--storage DIR] [--jobs N]
#
# --database       loads the database into PGDATABASE, which must exist and be empty
# --storage DIR    puts the uploaded files into DIR, in Chatwoot's own layout
# --jobs N         indexes built at once (default 2)
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
database=no storage= jobs=2
while [ $# -gt 0 ]; do
  case $1 in
    --database) database=yes ;;
    --storage) storage=\${2:?--storage needs a folder}; shift ;;
    --jobs) jobs=\${2:?--jobs needs a number}; shift ;;
    *) echo "restore.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
if [ "$database" = no ] && [ -z "$storage" ]; then
  echo "restore.sh: say --database, --storage DIR, or both (see RESTORE.md)" >&2; exit 2
fi
`;

function databasePart(manifest: Manifest): string {
  const lines = [
    `
export PGCLIENTENCODING=UTF8
export PGOPTIONS="\${PGOPTIONS:-} -c statement_timeout=0 -c DateStyle=ISO,MDY -c IntervalStyle=postgres"

load() { # folder, table, columns
  for first in "$here/database/data/$1"/*.copy; do [ -e "$first" ] || return 0; break; done
  echo "  $2"
  { echo 'BEGIN;'
    for file in "$here/database/data/$1"/*.copy; do
      printf 'COPY %s (%s) FROM STDIN;\\n' "$2" "$3"; cat -- "$file"; printf '\\\\.\\n'
    done
    echo 'COMMIT;'
  } | psql -X -q -v ON_ERROR_STOP=1 >/dev/null
}

restore_database() {
  : "\${PGDATABASE:?set PGDATABASE to the name of an empty database (and PGHOST, PGUSER, PGPASSWORD as needed)}"
  have=$(pg_restore --version | sed 's/[^0-9]*\\([0-9][0-9]*\\).*/\\1/')
  if [ "$have" -lt ${manifest.server.clientMajor} ]; then
    echo "restore.sh: pg_restore $have is too old for this dump; install version ${manifest.server.clientMajor} or newer" >&2; exit 1
  fi
  tables=$(psql -X -A -t -v ON_ERROR_STOP=1 -c "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r','p') and n.nspname not in ('pg_catalog','information_schema') and n.nspname !~ '^pg_toast'")
  if [ "$tables" -ne 0 ]; then
    echo "restore.sh: database $PGDATABASE has $tables tables already; it must be empty" >&2; exit 1
  fi
  echo "tables and types"
  pg_restore --exit-on-error --no-owner --no-acl --section=pre-data -d "$PGDATABASE" "$here/database/schema.dump"
  echo "rows"
`,
    ...manifest.tables.map((table) => `  ${tableLine(table)}`),
    `  if [ -f "$here/database/large-objects.sql" ]; then psql -X -q -v ON_ERROR_STOP=1 -f "$here/database/large-objects.sql" >/dev/null; fi
  echo "sequences"
  psql -X -q -v ON_ERROR_STOP=1 -f "$here/database/sequences.sql" >/dev/null
  echo "indexes, constraints and triggers"
  pg_restore --exit-on-error --no-owner --no-acl --section=post-data -j "$jobs" -d "$PGDATABASE" "$here/database/schema.dump"
  psql -X -q -v ON_ERROR_STOP=1 -c 'ANALYZE'
}
`,
  ];
  return lines.join("\n");
}

const STORAGE_PART = `
restore_storage() {
  mkdir -p -- "$storage"
  find "$here/storage" -type f | while IFS= read -r file; do
    key=\${file##*/}
    a=$(printf %.2s "$key"); rest=\${key#??}; b=$(printf %.2s "$rest")
    mkdir -p -- "$storage/$a/$b"
    if [ -e "$storage/$a/$b/$key" ]; then echo "  kept, was there already: $a/$b/$key"; else cp -p -- "$file" "$storage/$a/$b/$key"; fi
  done
}
`;

const SCRIPT_TAIL = `
if [ "$database" = yes ]; then restore_database; fi
if [ -n "$storage" ]; then
  if [ -d "$here/storage" ]; then restore_storage; else echo "this point has no uploaded files"; fi
fi
echo "done; RESTORE.md says what is left to do"
`;

export function formatRestoreScript(manifest: Manifest): string {
  return SCRIPT_HEAD + databasePart(manifest) + STORAGE_PART + SCRIPT_TAIL;
}

export function formatRestoreNotes(manifest: Manifest): string {
  const { installation, chatwoot, server } = manifest;
  const missing = manifest.storage.reduce((sum, service) => sum + service.missing.length, 0);
  const extensions = server.extensions.map((extension) => `${extension.name} ${extension.version}`).join(", ");
  return `# Putting this restore point back by hand

This is the Chatwoot installation **${installation.name}** as it was at **${manifest.startedAt}**:
Chatwoot ${chatwoot.version ?? "(version unknown)"}, PostgreSQL ${server.version}, database \`${server.database}\`.
${missing === 0 ? "No uploaded file was missing." : `${missing} uploaded files were not as the database describes them; \`manifest.json\` names each, under \`storage\`.`}
Nothing of Chatkeep is needed: only restic (0.14 or newer), and psql and pg_restore of version ${server.clientMajor} or newer.
${server.clientIsNewer ? `\nThe schema was dumped by newer client programs (${server.clientMajor}) than the server's (${server.major}): restore into PostgreSQL ${server.clientMajor} or newer if a setting is refused.\n` : ""}
1. Get everything out of the repository. RESTIC_REPOSITORY and RESTIC_PASSWORD are on the recovery kit:

       restic restore latest ${resticSelection(manifest)} --target /srv/restored

   If the folder where you read this came from there already, go on.
2. Install the same Chatwoot version (${chatwoot.version ?? "see config/"}) on PostgreSQL ${server.major} or newer, with the
   extensions ${extensions || "(none)"}. Stop its web and worker processes.
3. Put the environment back: \`config/\` holds the saved environment file. \`SECRET_KEY_BASE\` and every
   \`ACTIVE_RECORD_ENCRYPTION_*\` must be exactly the saved ones; addresses and passwords are those of the new place.
4. Make an empty database and load it (the role should be the one that Chatwoot uses):

       createdb chatwoot_restored
       PGDATABASE=chatwoot_restored sh /srv/restored/chatkeep/restore.sh --database

   Then rename it to the name that Chatwoot's environment says, with the old one kept beside it.
5. Put the uploaded files back and give them to the user that runs Chatwoot:

       sh /srv/restored/chatkeep/restore.sh --storage /home/chatwoot/chatwoot/storage
       chown -R chatwoot:chatwoot /home/chatwoot/chatwoot/storage

   Blobs of a bucket (any folder below \`storage/\` that is not \`local\`) go into the bucket under their bare file names.
6. Code changes are in \`code/\`: \`git fetch code/commits.bundle\`, then the staged and unstaged diffs, then the untracked files.
7. Delete the key \`alfred:CHATWOOT_INSTALLATION_ONBOARDING\` from Redis, run \`rails db:chatwoot_prepare\` if the version
   differs, start web, look at it, then start the worker.
`;
}
