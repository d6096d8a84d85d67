/** Pages of the help that are not about one command. */

export interface Topic {
  name: string;
  title: string;
  lines: readonly string[];
}

const CONFIG: Topic = {
  name: "config",
  title: "the configuration file",
  lines: [
    "'chatkeep init' writes it. It is looked for at --config, $CHATKEEP_CONFIG,",
    "./chatkeep.yaml and /etc/chatkeep/chatkeep.yaml. ${NAME} in a value stands for",
    "an environment variable.",
    "",
    "  installation:",
    "    id: 6f1c…               # made by init; never change it",
    "    name: acme",
    "    kind: docker-compose    # linux-vm; or manual, with what is not found:",
    "    compose-project: chatwoot        # or container: NAME",
    "    root: /home/chatwoot/chatwoot",
    "    env-file: /home/chatwoot/chatwoot/.env",
    "    database-url: postgres://…       # or database-url-file: FILE",
    "    storage: /home/chatwoot/chatwoot/storage",
    "    stop: { web: COMMAND, worker: COMMAND }   # also start, and health: URL",
    "    code: /home/chatwoot/chatwoot    # a git checkout or not",
    "    config: [/etc/nginx/sites-available/chatwoot]   # more to save",
    "    version: 4.15.1         # if it cannot be read from the code",
    "  repositories:             # the first is written to, the others get copies",
    "    - name: primary",
    "      location: /var/backups/chatkeep",
    "      password-file: /etc/chatkeep/primary.password",
    "                            # or password-command: COMMAND, or password: ${NAME}",
    "      env-file: /etc/chatkeep/offsite.env   # credentials of its place alone:",
    "      env: { AWS_DEFAULT_REGION: eu-central-1 }   # NAME=value (both optional)",
    "      limit-upload: 2000    # KiB a second; also limit-download …",
    "      connections: 8        # … and calls at once, for each thread",
    "      immutable: 30d        # s3:, azure: locks files so long where the bucket",
    "                            # can; or { for: 30d, mode: compliance }",
    "  database: { jobs: 2 }     # connections that read at once; max-rate: KiB a",
    "    # second at most; full-every: 7d, so often every row is read (0d: always);",
    "    # standby-url (or …-url-file): what 'backup --from-standby' reads;",
    "    # password-command: prints the role's password",
    "  drill: { image: pgvector/pgvector:pg16 }   # also embedded: FOLDER and",
    "    # database-url (or …-url-file); servers: [programs, container, embedded,",
    "    # database-url] is the order; see 'chatkeep help drill'",
    "  retention:                # what 'chatkeep forget' keeps; also hourly, yearly,",
    "    { last: 7, daily: 14, weekly: 8, monthly: 12 }   # within: 30d, tags: […]",
    "  alarms:                   # an account may lose so many, and so many percent",
    "    { messages: { count: 100, percent: 10 } }   # also conversations, contacts,",
    "                            # files; 'false' switches one off",
    "  schedule: { timezone: Europe/Berlin }   # of days and weeks (this machine's)",
    "",
    "With --repository LOCATION and no configuration the password is taken from",
    "$CHATKEEP_PASSWORD, $CHATKEEP_PASSWORD_FILE, or restic's $RESTIC_PASSWORD,",
    "$RESTIC_PASSWORD_FILE, $RESTIC_PASSWORD_COMMAND.",
  ],
};

const POINTS: Topic = {
  name: "points",
  title: "how to name a restore point",
  lines: [
    "  4f3a91c2                  its name in 'chatkeep list', or its first digits",
    "  latest                    the newest point of this installation",
    "  proven                    the newest point of it that a drill has proven",
    "  2026-11-23T16:58:50Z      the last point before that time; its zone must be",
    "  2026-11-23T17:58+01:00    given, as Z or as an offset",
  ],
};

/** `exits` is made from the table of exit statuses, in help.ts. */
export const TOPICS: readonly Topic[] = [CONFIG, POINTS];
