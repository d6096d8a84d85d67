/** `README.txt` beside plain files: Chatwoot's own way of restoring, for exactly these. Nothing of ours is needed for it. */
import { plural } from "../base/bytes.ts";
import type { Manifest } from "./manifest.ts";
import { codeCommands } from "./restore-notes.ts";
import { quoteShell } from "./restore-script.ts";

export interface PlainParts {
  hasEnvironment: boolean;
  hasConfig: boolean;
  hasCode: boolean;
}

export function formatPlainReadme(manifest: Manifest, parts: PlainParts): string {
  return [
    introduction(manifest),
    what(manifest, parts),
    install(manifest, parts),
    ...(parts.hasCode ? [code(manifest)] : []),
    onMachine(manifest),
    inCompose(manifest),
    last(manifest),
  ].join("\n");
}

function introduction({ installation, chatwoot, server, startedAt }: Manifest): string {
  return `Chatwoot '${installation.name}' as it was at ${startedAt}
Chatwoot ${chatwoot.version ?? "(version unknown)"}, PostgreSQL ${server.version}, database ${server.database}

NOTHING HERE IS ENCRYPTED. Whoever can read this folder has every conversation and every secret. Remove it when you are done.
`;
}

function what({ server, storage, code }: Manifest, { hasEnvironment, hasConfig, hasCode }: PlainParts): string {
  const blobs = storage.reduce((sum, service) => sum + service.blobs, 0);
  const others = storage.filter(({ kind, blobs: some }) => kind !== "local" && some > 0);
  const lines = [
    `chatwoot.dump   the database, as pg_dump's custom format has it: for pg_restore of PostgreSQL ${server.clientMajor} or newer`,
    ...(blobs === 0 ? [] : [`storage/        ${plural(blobs, "uploaded file")}, as Chatwoot keeps them in a folder`]),
    ...others.map(
      ({ name }) => `storage/${name}/  those of the bucket '${name}', under their keys: copy them into the bucket`,
    ),
    ...(hasEnvironment ? [".env            Chatwoot's environment, with its keys"] : []),
    ...(hasConfig ? ["config/         what else of the configuration was saved"] : []),
    ...(hasCode
      ? [
          `code/           ${code.kind === "git" ? `changes to Chatwoot's code at commit ${code.head ?? "(unknown)"}` : "Chatwoot's code"}`,
        ]
      : []),
  ];
  return `What is here\n\n${lines.map((line) => `  ${line}`).join("\n")}\n`;
}

function install({ chatwoot, server }: Manifest, { hasEnvironment, hasCode }: PlainParts): string {
  const version =
    chatwoot.version === null ? "the version that ran then" : `version ${chatwoot.version}, and no newer one`;
  const extensions = server.extensions.map(({ name }) => name).filter((name) => name !== "plpgsql");
  return `1. Install Chatwoot anew (${version}) and finish its onboarding. Upgrade when all is back, not before.
2. ${
    hasEnvironment
      ? "Take over what is in .env. SECRET_KEY_BASE and ACTIVE_RECORD_ENCRYPTION_* must be exactly these, or logins, channels and links break; addresses and passwords of the database and of Redis are the new machine's."
      : "No environment came with this point: without its SECRET_KEY_BASE and ACTIVE_RECORD_ENCRYPTION_* some logins, channels and links will not work."
  }
3. The server must have ${extensions.length === 0 ? "no extensions" : `the extensions ${extensions.join(", ")}`}.
4. Replace the new database with this one and put the files${hasCode ? " and the code" : ""} back, as below. Run it in this folder.
`;
}

/** Before Chatwoot is started again: the database may need it. */
function code(manifest: Manifest): string {
  const { head, origin, bundle } = manifest.code;
  const commands = codeCommands(manifest);
  if (commands.length === 0)
    return "The code: copy what you need of code/files/ over Chatwoot's own, before it is started.\n";
  const from = origin === undefined ? "" : `, cloned from ${origin}`;
  const has =
    bundle === true ? "code/commits.bundle has the commits that its origin lacks" : "its origin has all of its commits";
  return `The code, before Chatwoot is started (it was at commit ${head ?? ""}${from}; ${has}), as the user that runs Chatwoot:

${commands.map((line) => `  ${line}`).join("\n")}

  Changed code may need 'bundle install' and 'rails assets:precompile'. A folder code/files/ is there where its history could not be
  saved: copy those files instead.
`;
}

const KEY = "alfred:CHATWOOT_INSTALLATION_ONBOARDING";

function onMachine({ storage }: Manifest): string {
  const files = storage.some(({ kind, blobs }) => kind === "local" && blobs > 0);
  return `On a Linux machine, as root:

  systemctl stop chatwoot.target
  sudo -u postgres dropdb chatwoot_production
  sudo -u postgres createdb -T template0 -E UTF8 -O chatwoot chatwoot_production
  sudo -u postgres pg_restore --no-owner --no-acl --role=chatwoot -e -d chatwoot_production < chatwoot.dump
${files ? "  mkdir -p /home/chatwoot/chatwoot/storage\n  cp -a storage/. /home/chatwoot/chatwoot/storage/\n  chown -R chatwoot:chatwoot /home/chatwoot/chatwoot/storage\n" : ""}  redis-cli del ${KEY}
  systemctl start chatwoot-web.1
`;
}

function inCompose({ storage }: Manifest): string {
  const files = storage.some(({ kind, blobs }) => kind === "local" && blobs > 0);
  return `With Docker Compose (services rails, sidekiq, postgres, redis), in the folder of the Compose file. HERE is this folder, ROLE is
what POSTGRES_USERNAME of Chatwoot's environment says, most often postgres:

  docker compose stop rails sidekiq
  docker compose exec -T postgres dropdb -U postgres chatwoot_production
  docker compose exec -T postgres createdb -U postgres -T template0 -E UTF8 -O ROLE chatwoot_production
  docker compose exec -T postgres pg_restore -U postgres --no-owner --no-acl --role=ROLE -e -d chatwoot_production < HERE/chatwoot.dump
${files ? "  docker compose cp HERE/storage/. rails:/app/storage/\n" : ""}  docker compose exec -T redis sh -c 'redis-cli -a "$REDIS_PASSWORD" del ${KEY}'
  docker compose start rails
`;
}

function last({ chatwoot }: Manifest): string {
  const version = chatwoot.version === null ? "" : ` (${quoteShell(chatwoot.version)})`;
  return `5. Look at it in the browser${version}: log in, open conversations, open pictures.
6. The worker acts at once when it starts: it fetches mail, sends campaigns that are due, wakes snoozed conversations.
   Start it last (systemctl start chatwoot.target, or docker compose start sidekiq), and never on a copy beside the real one.
`;
}
