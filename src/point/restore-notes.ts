/** `RESTORE.md`: the way back by hand, step by step, written for exactly one point. */
import { plural } from "../base/bytes.ts";
import { encodeName, installationTag, instantTag, POINT_TAG, SNAPSHOT_PATH } from "./layout.ts";
import { countMissing, type Manifest, tablesLackingRows } from "./manifest.ts";
import { quoteShell } from "./restore-script.ts";

/** The options with which stock restic finds exactly this point. */
function resticSelection(manifest: Manifest): string {
  const tags = [POINT_TAG, installationTag(manifest.installation.id), instantTag(manifest.startedAt)].join(",");
  return `--host ${quoteShell(manifest.installation.name)} --tag ${quoteShell(tags)} --path ${quoteShell(SNAPSHOT_PATH)}`;
}

export function formatRestoreNotes(manifest: Manifest): string {
  return [introduction(manifest), contents(manifest), chatwoot(manifest), database(manifest), storage(manifest)]
    .concat(code(manifest), last(manifest))
    .join("\n");
}

function introduction(manifest: Manifest): string {
  const { installation, chatwoot: app, server } = manifest;
  const missing = manifest.storage.reduce((sum, service) => sum + countMissing(service).blobs, 0);
  const named = manifest.storage.some(({ missingInAll }) => missingInAll !== undefined)
    ? "the files `ranges/storage/*.missing.jsonl` and `manifest.json` name each."
    : "`manifest.json` names each, under `storage`.";
  const newer = `
The schema was dumped by newer client programs (${server.clientMajor}) than the server's (${server.major}). Restore into
PostgreSQL ${server.clientMajor} or newer if pg_restore stops at a setting that the server does not know.
`;
  return `# Putting this restore point back by hand

This is the Chatwoot installation **${installation.name}** as it was at **${manifest.startedAt}**:
Chatwoot ${app.version ?? "(version unknown)"}, PostgreSQL ${server.version}, database \`${server.database}\`.
${missing === 0 ? "No uploaded file was missing." : `${plural(missing, "uploaded file")} ${missing === 1 ? "was" : "were"} not as the database describes; ${named}`}${lacking(manifest)}

Nothing of Chatkeep is needed: only restic (0.14 or newer), and psql and pg_restore of PostgreSQL ${server.clientMajor} or newer
(package \`postgresql-client-${server.clientMajor}\`). Nothing below overwrites what is there: the database goes into a new one, files beside.
${server.clientIsNewer ? newer : ""}`;
}

function lacking(manifest: Manifest): string {
  const tables = tablesLackingRows(manifest).map(({ schema, name }) => `\`${schema}.${name}\``);
  if (tables.length === 0) return "";
  return `
The server could not read all rows of ${tables.join(", ")}: \`manifest.json\` names their ids, under \`unreadable\` of the table. An
older restore point may have them. Foreign keys that need them are left out.`;
}

function contents(manifest: Manifest): string {
  return `## 1. Get it out of the repository

If you read this in a folder that came out of the repository whole, with \`restore.sh\` beside it, go on with step 2.
Location and password are on the recovery kit; about ${diskNeed(manifest)} of disk space is needed. \`cat\` waits for the
password: type it, then Enter and Ctrl-D, so that it is on no command line and in no shell history.

    (umask 077; cat > "$HOME/repository.password")
    export RESTIC_REPOSITORY='…' RESTIC_PASSWORD_FILE="$HOME/repository.password"
    restic restore latest ${resticSelection(manifest)} --target /srv/restored

The selection names this point and no other; \`restic snapshots --tag ${POINT_TAG}\` lists all. All steps below are run here:

    cd /srv/restored/chatkeep
`;
}

function diskNeed({ tables, storage: services }: Manifest): string {
  const bytes =
    tables.reduce((sum, table) => sum + table.bytes, 0) + services.reduce((sum, service) => sum + service.bytes, 0);
  return `${Math.max(1, Math.ceil(bytes / 1e9))} GB`;
}

function chatwoot(manifest: Manifest): string {
  const { chatwoot: app, server } = manifest;
  const own = server.extensions.filter((extension) => extension.name !== "plpgsql");
  const extensions = own.map((extension) => `${extension.name} ${extension.version}`).join(", ");
  const lines = own.map(
    ({ name, schema }) =>
      `    psql -d chatwoot_restored -c 'CREATE EXTENSION IF NOT EXISTS "${name}" SCHEMA "${schema}"'`,
  );
  return `## 2. Chatwoot, stopped

Install the same version (${app.version ?? "see config/"}${app.commit === null ? "" : `, commit ${app.commit.slice(0, 10)}`}), or take the one that is there. Stop its web and worker processes: the
worker sends mail and campaigns as soon as it runs.

Put the environment back. ${environment(manifest)}
\`SECRET_KEY_BASE\` and every \`ACTIVE_RECORD_ENCRYPTION_*\` must be exactly the saved ones, or secrets, logins and links to
files are lost; addresses and passwords are those of the new place.

## 3. An empty database

On PostgreSQL ${server.major} or newer${extensions === "" ? "" : `, with ${extensions} (pgvector for \`vector\`, postgresql-contrib for most others)`}. The role
should be the one that Chatwoot uses: \`POSTGRES_HOST\`, \`POSTGRES_USERNAME\` and \`POSTGRES_PASSWORD\` of its environment.

    export PGHOST='…' PGPORT=5432 PGUSER='…' PGPASSWORD='…'
    createdb ${createOptions(manifest)} chatwoot_restored

If the server has no such locale, leave the options of the locale out.
${lines.length === 0 ? "" : `\nOnly if the role may not create extensions, an administrator makes them first (in the database chatwoot_restored):\n\n${lines.join("\n")}\n`}`;
}

function environment(manifest: Manifest): string {
  return manifest.config.files === 0
    ? "None was saved."
    : "`config/env` is the environment file, where Chatwoot had one, and\n`config/chatkeep/environment.json` all that its processes saw; other configuration lies in `config/files/` under its old path.";
}

function provider({ localeProvider: by }: Manifest["server"]): string {
  if (by === undefined) return "";
  const rules = by.rules === null ? "" : ` --icu-rules ${quoteShell(by.rules)}`;
  return ` --locale-provider ${by.name} --${by.name}-locale ${quoteShell(by.locale)}${rules}`;
}

function createOptions({ server }: Manifest): string {
  const locale = `--lc-collate ${quoteShell(server.collate)} --lc-ctype ${quoteShell(server.ctype)}`;
  return `-T template0 -E ${quoteShell(server.encoding)} ${locale}${provider(server)}`;
}

function database(manifest: Manifest): string {
  const rows = manifest.tables.reduce((sum, table) => sum + table.rows, 0);
  const objects =
    manifest.largeObjects === undefined ? "" : `, ${plural(manifest.largeObjects.objects, "large object")},`;
  return `## 4. The database

    PGDATABASE=chatwoot_restored sh restore.sh --database

loads ${plural(manifest.tables.length, "table")} with ${plural(rows, "row")}${objects} and checks that each got all of its rows. It stops at the first error; then drop the
database, make it again and start over. An administrator may add \`--with-roles\`: it makes the roles that are lacking, without
passwords, and gives owners and grants as they were (\`database/roles.sql\`, \`database/grants.sql\`).

Set \`POSTGRES_DATABASE\` (or \`DATABASE_URL\`) in Chatwoot's environment to the new database, or rename the two while nothing is connected (the first line only where there is an old one):

    psql -d postgres -c 'ALTER DATABASE "${manifest.server.database}" RENAME TO "${manifest.server.database}_before"'
    psql -d postgres -c 'ALTER DATABASE "chatwoot_restored" RENAME TO "${manifest.server.database}"'
`;
}

function storage(manifest: Manifest): string {
  const others = manifest.storage.filter((service) => service.kind !== "local").map(({ name }) => encodeName(name));
  return `## 5. The uploaded files

    sh restore.sh --storage /home/chatwoot/chatwoot/storage
    chown -R chatwoot:chatwoot /home/chatwoot/chatwoot/storage

or wherever this Chatwoot keeps them, owned by the user that runs it. Files that are there already are kept; it can be
started again when it was interrupted.
${others.length === 0 ? "" : `\nFiles of ${others.map((name) => `\`${name}\``).join(", ")} come into a folder of that name: upload them into the bucket under their bare file names.\n`}`;
}

function fetchOf(refs: string): string {
  return `git -C "$app" fetch "$PWD/code/commits.bundle" '${refs}'`;
}

/** What brings the code of a checkout back, run in the folder that has `code/`; none for a point without one. Pure. */
export function codeCommands({ code: { kind, files, head, branch, bundle } }: Manifest): string[] {
  if (kind !== "git" || files === 0 || head === undefined) return [];
  return [
    `app=/home/chatwoot/chatwoot        # a checkout without changes; an empty one: mkdir "$app" && git -C "$app" init`,
    ...(bundle === true ? [fetchOf("+refs/*:refs/chatkeep/*")] : []),
    ...(bundle === true && branch === undefined ? [fetchOf("+HEAD:refs/chatkeep/HEAD")] : []),
    `git -C "$app" checkout -b restored ${head}`,
    `test ! -f code/staged.diff   || git -C "$app" apply --index "$PWD/code/staged.diff"`,
    `test ! -f code/unstaged.diff || git -C "$app" apply "$PWD/code/unstaged.diff"`,
    `test ! -d code/untracked     || cp -R code/untracked/. "$app"`,
  ];
}

function code(manifest: Manifest): string[] {
  const { kind, head, branch, origin, bundle } = manifest.code;
  if (kind === "none" || manifest.code.files === 0) return [];
  if (kind === "files" || head === undefined) {
    return [
      `## 6. The code\n\nThe saved files are in \`code/files/\`; copy those that you need over Chatwoot's own.\n`,
    ];
  }
  return [
    `## 6. The code

It was at commit ${head}${branch === undefined ? "" : ` (branch ${branch})`}${origin === undefined ? "" : `, cloned from ${origin}`}.
${bundle === true ? "`code/commits.bundle` has the commits that its origin lacks; the rest must be in the checkout (clone or fetch the origin first)." : "Its origin has all of its commits: clone or fetch it first."}

${codeCommands(manifest)
  .map((line) => `    ${line}`)
  .join("\n")}

If there is a folder \`code/files/\`, its history could not be saved: copy those files instead. Where git speaks of dubious
ownership: \`git config --global --add safe.directory "$app"\`. At the end the checkout must belong to the user that runs
Chatwoot, as in step 5; changed code may need \`bundle install\` and \`rails assets:precompile\`.
`,
  ];
}

function last(manifest: Manifest): string {
  return `## ${manifest.code.kind === "none" || manifest.code.files === 0 ? 6 : 7}. Start it

1. Delete the key \`alfred:CHATWOOT_INSTALLATION_ONBOARDING\` from Redis, or Chatwoot asks to be set up anew.
2. If its version is newer than the saved one: \`POSTGRES_STATEMENT_TIMEOUT=600s bundle exec rails db:chatwoot_prepare\`.
3. Start web, log in, look at conversations and attachments.
4. Only then start the worker: it sends what has become due since ${manifest.startedAt}.
`;
}
