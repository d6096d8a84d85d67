/**
 * The recovery kit: one page that, with a repository, is enough to get everything back on an empty machine. This is its
 * content and its plain text; `recovery-page.ts` makes the page to print.
 */
import { shellWord } from "./restore-script.ts";
import { shortId } from "../base/ids.ts";

/** The modules of a QR code, row by row, without the quiet zone around it; true is dark. */
export type QrModules = readonly (readonly boolean[])[];

export interface KitRepository {
  name: string;
  location: string;
  /** Undefined when the repository could not be opened while the kit was written. */
  opened: { id: string; keyId: string } | undefined;
  /** Undefined when the password is to be written by hand, or kept elsewhere. */
  password: { text: string; qr: QrModules } | undefined;
}

export interface RecoveryKit {
  installation: { id: string; name: string };
  repositories: readonly KitRepository[];
  /** RFC 3339. */
  writtenAt: string;
}

/** Tells which paper fits which repository and key: the first digits of both ids, as restic shows them too. */
export function fingerprintOf(repositoryId: string, keyId: string): string {
  return `${shortId(repositoryId)}-${shortId(keyId)}`;
}

/** Where the kit's commands put the password. */
const PASSWORD_FILE = "/etc/chatkeep/chatkeep.password";

export const KIT_WARNING =
  "Keep this page away from the machine that it is about, where only the people who may restore can reach it. " +
  "Whoever has it and the repository can read every conversation.";

export interface KitStep {
  title: string;
  /** What a person does before the commands, in lines of at most 72 columns. */
  notes?: readonly string[];
  commands: readonly string[];
}

/** The commands that bring everything back from one of the repositories. */
export function kitSteps({ installation, repositories }: RecoveryKit): KitStep[] {
  const [first] = repositories;
  const location = shellWord(first?.location ?? "LOCATION");
  const from = repositories.length > 1 ? `, from repository ${first?.name ?? ""}` : "";
  return [
    {
      title: "First: the password into a file (type it, Enter, Ctrl-D)",
      commands: [`(umask 077; mkdir -p /etc/chatkeep; cat > ${PASSWORD_FILE})`],
    },
    {
      title: `Everything, onto a new machine${from}`,
      notes: [
        "Install Chatkeep, then the version of Chatwoot that 'show' names, and go",
        "through its first page. KIND is linux-vm, compose, swarm or kubernetes.",
      ],
      commands: [
        `export CHATKEEP_PASSWORD_FILE=${PASSWORD_FILE}`,
        `chatkeep --repository ${location} show latest`,
        `chatkeep --repository ${location} restore latest --onto KIND`,
      ],
    },
    {
      title: `Only the data, into a folder and a new database${from}`,
      commands: [
        `chatkeep init --from ${location} --password-file ${PASSWORD_FILE}`,
        "chatkeep list",
        "chatkeep restore latest --to /srv/restored \\",
        "         --database-url postgresql://postgres@localhost/chatwoot_restored",
      ],
    },
    {
      title: "The same without Chatkeep: restic 0.14 or newer, psql and pg_restore",
      commands: [
        `export RESTIC_REPOSITORY=${location}`,
        `export RESTIC_PASSWORD_FILE=${PASSWORD_FILE}`,
        "restic snapshots --tag chatkeep",
        `restic restore latest --host ${shellWord(installation.name)} --path /chatkeep --target /srv/restored`,
        "less /srv/restored/chatkeep/RESTORE.md",
      ],
    },
  ];
}

/** True for a place that needs credentials of its own, which are not the repository's password. */
export function needsCredentials(location: string): boolean {
  return /^[a-z0-9]+:/.test(location) && !location.startsWith("local:");
}

const WIDTH = 78;
const LINE = "-".repeat(WIDTH);
const TO_FILL = "____________________________________ (write it here)";
const QUIET_ZONE = 4;

/** A QR code in half blocks, two rows of modules in a line of text, dark where ink goes. */
export function formatQr(qr: QrModules): string[] {
  const size = qr.length + 2 * QUIET_ZONE;
  const isDark = (row: number, column: number) => qr[row - QUIET_ZONE]?.[column - QUIET_ZONE] === true;
  const lines: string[] = [];
  for (let row = 0; row < size; row += 2) {
    let line = "";
    for (let column = 0; column < size; column += 1) {
      const [upper, lower] = [isDark(row, column), isDark(row + 1, column)];
      line += upper ? (lower ? "█" : "▀") : lower ? "▄" : " ";
    }
    lines.push(line.trimEnd());
  }
  return lines;
}

function formatRepository({ name, location, opened, password }: KitRepository): string[] {
  return [
    LINE,
    `  Repository     ${name}`,
    `  Location       ${location}`,
    ...(needsCredentials(location) ? [`  Its login      ${TO_FILL}`] : []),
    ...(opened === undefined
      ? ["  Fingerprint    (it could not be opened when this was written)"]
      : [`  Fingerprint    ${fingerprintOf(opened.id, opened.keyId)}`, `  Its id  ${opened.id}`]),
    `  Password       ${password?.text ?? TO_FILL}`,
    ...(password === undefined ? [] : formatQr(password.qr).map((line) => (line === "" ? "" : `      ${line}`))),
    "",
  ];
}

/** The repositories that a kit is about, as its text says. */
export function namesOnKit(text: string): string[] {
  return [...text.matchAll(/^ {2}Repository {5}(.+)$/gm)].map(([, name]) => name ?? "");
}

/** True for a kit on which all passwords are to be written by hand. */
export function isWithoutPassword(text: string): boolean {
  const passwords = [...text.matchAll(/^ {2}Password {7}(.+)$/gm)];
  return passwords.every(([, password]) => password === TO_FILL);
}

/** Plain text to print; at most 78 columns but where a location or a password is longer. */
export function formatRecoveryKit(kit: RecoveryKit): string {
  const lines = [
    "=".repeat(WIDTH),
    "  CHATKEEP RECOVERY KIT",
    "=".repeat(WIDTH),
    "",
    `  Installation   ${kit.installation.name}`,
    `                 ${kit.installation.id}`,
    `  Written        ${kit.writtenAt}`,
    "",
    "  Print this page and keep it away from this machine, where only the people",
    "  who may restore can reach it. Then delete the file. Whoever has it and the",
    "  repository can read every conversation. 'chatkeep key list' shows the",
    "  fingerprints that are still good; each QR code holds the password above it.",
    "",
    ...kit.repositories.flatMap(formatRepository),
  ];
  for (const { title, notes = [], commands } of kitSteps(kit)) {
    lines.push(
      LINE,
      `  ${title}`,
      ...notes.map((note) => `  ${note}`),
      "",
      ...commands.map((command) => `    ${command}`),
      "",
    );
  }
  lines.push("=".repeat(WIDTH), "");
  return lines.join("\n");
}
