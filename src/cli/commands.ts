/** The one table of commands. Parser, help and completions are made from it; each command's code is loaded when called. */
import type { CommandRow } from "./command.ts";
import { BRING_BACK } from "./commands/bring-back.ts";
import { CONTINUOUS } from "./commands/continuous.ts";
import { DAILY } from "./commands/daily.ts";
import { DIFF_ROW } from "./commands/diff.ts";
import { GUARD_ROW } from "./commands/guard.ts";
import { KEY_ROWS } from "./commands/keys.ts";
import { EXPORT_ROW, IMPORT_ROW } from "./commands/portable.ts";
import { AT_TIME, NOTHING_WRITTEN, POINT, READING_EXITS, REPOSITORY_EXITS } from "./commands/shared.ts";
import { SCRUB_ROW } from "./commands/scrub.ts";
import { SPACE } from "./commands/space.ts";
import { STATS_ROW } from "./commands/stats.ts";
import { STATUS_ROW } from "./commands/status.ts";
import { TIDY } from "./commands/tidy.ts";

export { PARTS } from "./commands/shared.ts";

const SET_UP: readonly CommandRow[] = [
  {
    name: "init",
    group: "set up",
    args: [],
    options: [
      { flag: "--location", value: "LOCATION", kind: "folder", help: "where the repository is to be made, or shared" },
      { flag: "--name", value: "NAME", help: "name of this installation (default: this machine's name)" },
      { flag: "--add", value: "NAME", help: "one more repository, for copies, at --location" },
      { flag: "--from", value: "LOCATION", kind: "folder", help: "write the configuration back from that repository" },
      { flag: "--project", value: "NAME", help: "which Compose project, where Chatwoot is in several" },
      { flag: "--namespace", value: "NAME", help: "which namespace, where Chatwoot is in Kubernetes" },
      { flag: "--root", value: "DIR", kind: "folder", help: "where Chatwoot lies, if it is not found by itself" },
      { flag: "--env-file", value: "FILE", kind: "file", help: "Chatwoot's environment file" },
      { flag: "--database-url", value: "URL", help: "Chatwoot's database, if the environment does not say it" },
      { flag: "--storage", value: "DIR", kind: "folder", help: "the folder of uploaded files" },
      { flag: "--code", value: "DIR", kind: "folder", help: "the folder of Chatwoot's code" },
      {
        flag: "--password-file",
        value: "FILE",
        kind: "file",
        help: "the repository's password (default: one is made)",
      },
    ],
    purpose: "find Chatwoot, make a repository, write the configuration",
    description: [
      "Finds Chatwoot, asks where to keep the restore points and what to call it, makes the repository, and writes its password, the configuration and a recovery kit to print. No file that exists is overwritten. The kit and the repository are all you need when this machine is gone: keep it elsewhere.",
      "With --add: makes one more repository at --location, with a password of its own; 'backup' copies into it from then on. With --from, on an empty machine: opens a repository with the kit's password and writes the configuration back.",
    ],
    examples: [
      ["ask and write", "chatkeep init"],
      ["for scripts", "chatkeep init --yes --location /var/backups/chatkeep --name acme"],
      ["a second place", "chatkeep init --add offsite --location /mnt/other-disk/chatkeep"],
      ["on an empty machine", "chatkeep init --from /mnt/backups/chatwoot --password-file FILE"],
    ],
    exits: { 3: "", 10: "", 12: "", 20: "" },
    kept: "what was written so far stays, and init can be run again",
    load: async () => (await import("./verbs/init.ts")).init,
  },
  {
    name: "doctor",
    group: "set up",
    args: [],
    options: [{ flag: "--fix", help: "change what keeps the log from being followed; asks before each change" }],
    purpose: "look for what would make a backup or a restore fail",
    description: [
      "Says what was found and from where it was read, then everything that worries it, the worst first, each with what to do about it: installation, database, uploaded files, disks and clocks, every repository with its newest point and its copies, and who else can read or change what. What was acknowledged ('chatkeep ack') is a note.",
      "Each repository's place is tried too: how fast it answers, takes and gives, whether it lets anything be deleted, and what time it is there. For that one file is written to chatkeep/probe in the place and removed again; restic does not look there. A rest: server takes only restic's own names, so there it only reads. Nothing else is changed. Buckets, and servers with a password, are also asked without credentials: what they answer then, anybody can have.",
      "With --fix it first changes, one by one and each with consent, what keeps 'watch' from following the server's log: the role's right, the bound of replication slots, a line of pg_hba.conf where that file lies on this machine. It says how each is undone.",
    ],
    examples: [
      ["", "chatkeep doctor"],
      ["let the server's log be followed", "chatkeep doctor --fix"],
    ],
    exits: { 3: "something needs attention", ...READING_EXITS },
    kept: NOTHING_WRITTEN,
    load: async () => (await import("./verbs/doctor.ts")).doctor,
  },
];

const BACK_UP: readonly CommandRow[] = [
  {
    name: "backup",
    group: "back up",
    args: [],
    options: [
      { flag: "--full", help: "read every row and every file again, even what did not change" },
      { flag: "--from-standby", help: "read the standby of database.standby-url; nothing is asked of its primary" },
      { flag: "--tag", value: "NAME", isRepeated: true, help: "mark the restore point; may be given several times" },
      { flag: "--dry-run", help: "list what would be saved; read no file and no row, write nothing" },
    ],
    purpose: "make a restore point of the whole installation",
    description: [
      "Reads database, uploaded files, configuration and code as of one instant while Chatwoot keeps running, and adds what is new to the repository. Every file is checked against the database's own checksum on the way.",
      "With several repositories in the configuration the first is written to, and the others get a copy; one that fails is an alarm, and the next run catches up, also with points that were damaged in the first and have been mended since. If the first does not answer, or refuses to be written to before or during the run (read-only, full), the next one that takes it is written to, and the next backup that can write to the first brings it what it lacks. With --repository only that one is written to.",
      "What is missing or altered in the installation does not stop the backup: it is saved as far as it is there, named as a finding, and the exit status is 3. Known since the last point, it becomes a note.",
    ],
    examples: [
      ["", "chatkeep backup"],
      ["from cron: silent unless somebody must look", "chatkeep backup --quiet"],
      ["before an upgrade", "chatkeep backup --tag before-4.16"],
    ],
    exits: { 3: "the point was made, but something is missing, altered or would not restore", ...REPOSITORY_EXITS },
    kept: "earlier restore points are untouched, and the next backup goes on with what is already saved",
    load: async () => (await import("./verbs/backup.ts")).backup,
  },
  {
    name: "copy",
    group: "back up",
    args: [{ ...POINT, isOptional: true, isRepeated: true }],
    options: [
      {
        flag: "--to",
        value: "NAME|LOCATION",
        kind: "folder",
        help: "the repository that gets the copy: a configured one, or the place of any",
      },
      { flag: "--all", help: "every snapshot in the repository, those that restic made too" },
      { ...AT_TIME, help: "copy from the bucket as it was then, if it keeps versions" },
    ],
    purpose: "copy restore points to another repository",
    description: [
      "From the first repository, or the one that --repository names: the points given, or without any all of this installation. A snapshot that restic or another program made is copied when it is named by its id, or its first digits, and with --all. What the other repository has already is not sent again, nothing is compressed again, and every chunk is verified. Points keep their names, as with 'restic copy'; holds go along, proofs stay behind, because a proof counts for the repository that was read. 'backup' does this by itself for all configured repositories.",
      "Between two places of which one is not configured, its password is taken from $CHATKEEP_PASSWORD or $CHATKEEP_PASSWORD_FILE.",
    ],
    examples: [
      ["what the second place lacks", "chatkeep copy --to offsite"],
      ["back at once, after the first was away", "chatkeep copy --repository offsite --to primary"],
      [
        "what a bucket had before somebody got at it",
        "chatkeep copy --repository bucket --at-time 2026-11-23T03:00Z --to other",
      ],
      ["one point", "chatkeep copy latest --to /mnt/usb/chatkeep"],
      ["all that restic made", "chatkeep copy --all --repository /srv/restic --to /mnt/usb/restic"],
    ],
    exits: { ...REPOSITORY_EXITS, 13: "a point is damaged in the source and was not copied; the others were" },
    kept: "what was copied so far is used by the next copy, and no point is there by half",
    load: async () => (await import("./verbs/copy.ts")).copy,
  },
];

const LOOK: readonly CommandRow[] = [
  STATUS_ROW,
  {
    name: "list",
    group: "look",
    args: [],
    options: [{ flag: "--all", help: "the points of every installation in the repository" }, AT_TIME],
    purpose: "list the restore points, and which of them are proven",
    description: [
      "Newest first. 'proven' says when a drill last restored the point in a scratch server and found everything the same. A point without it has been saved, but nobody has tried it yet. 'not whole' says that 'repair packs' found something lacking that has not come back since.",
      "Where 'watch' protects continuously, the window follows: from when to when any moment can be had, and why not in between.",
    ],
    examples: [
      ["", "chatkeep list"],
      ["with no configuration", "chatkeep list --repository /mnt/backups/chatwoot"],
    ],
    exits: { 3: "some snapshot files in the repository cannot be read", ...READING_EXITS },
    kept: NOTHING_WRITTEN,
    load: async () => (await import("./verbs/list.ts")).list,
  },
  {
    name: "show",
    group: "look",
    args: [POINT],
    options: [AT_TIME],
    purpose: "show what a restore point holds, what it misses, and its proof",
    description: ["With --json, the last line holds the point's whole manifest."],
    examples: [["", "chatkeep show latest"]],
    exits: READING_EXITS,
    kept: NOTHING_WRITTEN,
    load: async () => (await import("./verbs/show.ts")).show,
  },
  {
    name: "ls",
    group: "look",
    args: [POINT, { name: "PATH", isOptional: true, kind: "text" }],
    options: [AT_TIME],
    purpose: "list the files inside a restore point",
    description: [
      "Without PATH the top folder. 'config' holds the saved environment and configuration, 'database' the rows, 'storage' the uploaded files, 'code' what was changed in Chatwoot's code.",
    ],
    examples: [
      ["", "chatkeep ls latest"],
      ["", "chatkeep ls latest config"],
    ],
    exits: READING_EXITS,
    kept: NOTHING_WRITTEN,
    load: async () => (await import("./verbs/ls.ts")).ls,
  },
  {
    name: "dump",
    group: "look",
    args: [POINT, { name: "PATH", kind: "text" }],
    options: [AT_TIME],
    purpose: "write one file of a restore point to stdout",
    description: [
      "The bytes come out exactly as they were saved, secrets included: 'dump latest config/…' prints the environment file with its passwords. So it takes no --json.",
    ],
    examples: [
      ["the manifest", "chatkeep dump latest manifest.json"],
      ["how to restore without Chatkeep", "chatkeep dump latest RESTORE.md"],
    ],
    exits: READING_EXITS,
    kept: "what was written to stdout is not the whole file",
    load: async () => (await import("./verbs/dump.ts")).dump,
  },
];

const PROVE: readonly CommandRow[] = [
  {
    name: "verify",
    group: "prove",
    args: [],
    options: [
      {
        flag: "--read-data",
        value: "SUBSET",
        isOptional: true,
        help: "also read and check the data: all of it, a part (1/7 … 7/7), a share (5%) or a size (2G)",
      },
      { flag: "--read-data-subset", value: "SUBSET", help: "the same, as restic writes it" },
      AT_TIME,
    ],
    purpose: "check the repository, and with --read-data every byte in it",
    description: [
      "Without --read-data: every index, tree and snapshot is read, and everything that a restore point needs is known to be there. With it, the packs themselves are read, decrypted and compared with their checksums. A damaged pack is named with the restore points that it touches.",
      "verify checks what is stored. Whether it restores is proven by 'chatkeep drill'.",
    ],
    examples: [
      ["", "chatkeep verify"],
      ["every byte", "chatkeep verify --read-data"],
      ["Monday's seventh", "chatkeep verify --read-data=1/7"],
      ["two gigabytes of it, by chance", "chatkeep verify --read-data=2G"],
    ],
    exits: { ...REPOSITORY_EXITS, 13: "something is damaged or lacking; what is whole still restores" },
    kept: NOTHING_WRITTEN,
    load: async () => (await import("./verbs/verify.ts")).verify,
  },
  SCRUB_ROW,
  {
    name: "drill",
    group: "prove",
    args: [{ ...POINT, isOptional: true }],
    options: [
      { flag: "--all", help: "read every uploaded file" },
      { flag: "--at", value: "MOMENT", help: "prove a moment instead: random, now, -5m, a time" },
      {
        flag: "--in-place-server",
        help: "where no other fits: a database on Chatwoot's own server",
      },
      AT_TIME,
    ],
    purpose: "prove that a restore point restores, and record the proof",
    description: [
      "Loads the point (default: latest) into a scratch server, reads every row back and compares it with what was saved; checks sequences, triggers, code, and that the saved keys open the saved secrets. Then all of it is thrown away and the outcome is kept in the repository. Of the uploaded files it reads those that are new since the last proof there and a twentieth of the others; the first time, after a failed drill, and with --all every one. Several repositories take turns, unless --repository or POINT is given.",
      "--at, or a POINT that is a moment: base and log are brought back to it, and base, pages and indexes are checked too.",
      "The server is the first that fits: programs of the point's major on this machine; a container of the database's own image (drill.image), without network; npm's embedded server (drill.embedded); a database on the server of drill.database-url; with --in-place-server one on Chatwoot's own.",
      "Meanwhile the whole database lies there unencrypted, below $TMPDIR (default: /tmp) in a folder that only its owner can enter, or on the server that was named. With --at-time the outcome is told and not kept.",
    ],
    examples: [
      ["the newest point", "chatkeep drill"],
      ["any moment of the window", "chatkeep drill --at random"],
    ],
    exits: { 1: "not proven, or the drill could not be held", ...REPOSITORY_EXITS },
    kept: "the scratch server is taken away, the restore point is untouched, and no proof is written",
    load: async () => (await import("./verbs/drill.ts")).drill,
  },
];

const REST: readonly CommandRow[] = [
  {
    name: "demo",
    group: "try it",
    args: [],
    options: [
      { flag: "--continuous", help: "the second act: the database is destroyed while messages are written" },
      { flag: "--keep", help: "keep the demo's installation and repository, and say where they are" },
    ],
    purpose: "a throwaway Chatwoot, backed up, destroyed, restored and proven",
    description: [
      "Needs no configuration and touches nothing of yours: everything happens in a temporary folder, with a PostgreSQL server of its own, in about a minute.",
      "With --continuous: 'watch' follows the database, messages flow, and its server is killed and its files are deleted meanwhile. What was acknowledged is counted outside of it, and compared with what comes back.",
    ],
    examples: [
      ["", "chatkeep demo"],
      ["seconds lost, not a day", "chatkeep demo --continuous"],
    ],
    exits: { 1: "the demo's restore was not proven" },
    kept: "the demo's folder and server are taken away",
    load: async () => (await import("./verbs/demo.ts")).demo,
  },
  {
    name: "help",
    group: "help",
    args: [{ name: "TOPIC", isOptional: true, kind: "text" }],
    options: [],
    purpose: "explain a command, or: config, daily, restoring, points, exits",
    description: [],
    examples: [["", "chatkeep help restore"]],
    exits: {},
    kept: NOTHING_WRITTEN,
    load: async () => (await import("./verbs/help.ts")).help,
  },
  {
    name: "completion",
    group: "help",
    args: [{ name: "SHELL", kind: ["bash", "zsh", "fish"] }],
    options: [],
    purpose: "print the completions for bash, zsh or fish",
    description: [],
    examples: [
      ["bash, for this user", "chatkeep completion bash > ~/.local/share/bash-completion/completions/chatkeep"],
      ["zsh, in a folder of $fpath", 'chatkeep completion zsh > "${fpath[1]}/_chatkeep"'],
      ["fish", "chatkeep completion fish > ~/.config/fish/completions/chatkeep.fish"],
    ],
    exits: {},
    kept: NOTHING_WRITTEN,
    load: async () => (await import("./verbs/completion.ts")).completion,
  },
];

export const COMMANDS: readonly CommandRow[] = [
  ...SET_UP,
  ...KEY_ROWS,
  ...BACK_UP,
  ...DAILY,
  ...CONTINUOUS,
  EXPORT_ROW,
  ...LOOK,
  DIFF_ROW,
  STATS_ROW,
  ...PROVE,
  ...BRING_BACK,
  GUARD_ROW,
  IMPORT_ROW,
  ...TIDY,
  ...SPACE,
  ...REST,
];

export function findCommand(name: string): CommandRow | undefined {
  return COMMANDS.find((command) => command.name === name);
}
