/** What `doctor` asks about the repositories together: who can read or change them, and whether the copies keep up. */
import { readFile, stat } from "node:fs/promises";
import { listSome, plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import { readEnvFile } from "../chatwoot/environment.ts";
import { idleLinesFinding } from "../installation/worries.ts";
import { fingerprintOf } from "../point/recovery-kit.ts";
import { shellWord } from "../point/restore-script.ts";
import type { Repository } from "../repo/repository.ts";
import { type CopiedPoints, mendingHint, pointsLacking } from "./copy.ts";
import { isNotWhole } from "./not-whole.ts";
import type { Point } from "./points.ts";

/** What is known of a repository before it is opened. */
export interface KnownRepository {
  name: string;
  location: string;
  "password-file"?: string | undefined;
  "env-file"?: string | undefined;
  password?: string | undefined;
}

/**
 * A password that lies on this machine alone is lost with it, and with the password every restore point. Whether a kit was
 * printed only a person knows, who acknowledges it; another key is another kit.
 * @param page The kit's page, where it lies on this machine still.
 */
export function kitFindings(
  { name, password, "password-file": file }: KnownRepository,
  { config, keyId }: Pick<Repository, "config" | "keyId">,
  page: string | undefined,
): Finding[] {
  if (password === undefined && file === undefined) return [];
  const first =
    page === undefined
      ? "Make a recovery kit ('chatkeep kit --with-password --out DIR'), print it,"
      : `Print ${page}, delete it,`;
  return [
    {
      kind: "kit-not-kept",
      level: "warning",
      subject: fingerprintOf(config.id, keyId),
      message: `the password of repository '${name}' is kept on this machine alone, as far as Chatkeep knows: without it nothing can be restored`,
      hint: `${first} keep the paper where this machine's end does not reach it, and say so: 'chatkeep ack kit-not-kept'.`,
    },
  ];
}

/** Files with secrets that other users of the machine can read, and repositories that they can write to. */
export async function permissionFindings(
  configPath: string,
  repositories: readonly KnownRepository[],
): Promise<Finding[]> {
  const findings = [await secretFile(configPath, "the configuration")];
  for (const { name, location, "password-file": password, "env-file": env } of repositories) {
    if (password !== undefined) findings.push(await secretFile(password, `the password of repository '${name}'`));
    if (env !== undefined) {
      findings.push(await secretFile(env, `the file with the credentials of repository '${name}'`));
      findings.push(await envFileFinding(env));
    }
    findings.push(await writableFolder(location.replace(/^local:/, ""), name));
  }
  return findings.filter((finding) => finding !== undefined);
}

/** Whoever opens the repository says that it cannot be read. */
async function envFileFinding(path: string): Promise<Finding | undefined> {
  const text = await readFile(path, "utf8").catch(() => "");
  const { idleLines } = readEnvFile(text);
  return idleLines.length === 0 ? undefined : idleLinesFinding(path, idleLines);
}

/** A file with a secret that others may read; undefined where they may not, or it is not there. */
export async function secretFile(path: string, what: string): Promise<Finding | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined || !othersMay(0o4, found)) return undefined;
  return {
    kind: "readable-by-others",
    level: "warning",
    message: `${what} can be read by other users of this machine: ${path}`,
    hint: `Run: chmod 600 ${shellWord(path)}`,
  };
}

/**
 * Whether a file's mode lets others do what only we should. Who does not own it may himself only by its group, as with what
 * Kubernetes mounts into a pod: then the group is no other.
 * @param right As one digit of a mode.
 */
export function othersMay(
  right: number,
  { mode, uid }: { mode: number; uid: number },
  ownUid = process.geteuid?.() ?? 0,
): boolean {
  const isByGroup = ownUid !== 0 && uid !== ownUid;
  return (mode & (isByGroup ? right : right * 0o11)) !== 0;
}

async function writableFolder(path: string, name: string): Promise<Finding | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined || !othersMay(0o2, found)) return undefined;
  return {
    kind: "writable-by-others",
    level: "warning",
    message: `repository '${name}' can be changed by other users of this machine: ${path}`,
    hint: `They could remove every restore point. Run: chmod -R go-w ${shellWord(path)}`,
  };
}

/**
 * Passwords that protect less than they seem to.
 * @param names every name that stands in the configuration.
 */
export function passwordFindings(passwords: ReadonlyMap<string, string>, names: readonly string[]): Finding[] {
  const findings: Finding[] = [];
  const known = new Set(names.map((name) => name.toLowerCase()));
  for (const [repository, password] of passwords) {
    if (!known.has(password.toLowerCase())) continue;
    findings.push({
      kind: "password-is-a-name",
      level: "warning",
      message: `the password of repository '${repository}' is a name that stands in the configuration`,
      hint: "Whoever reads the configuration, or guesses, opens the repository: give it a new password.",
    });
  }
  for (const sharing of Map.groupBy(passwords, ([, password]) => password).values()) {
    if (sharing.length < 2) continue;
    findings.push({
      kind: "password-shared",
      level: "warning",
      message: `repositories ${listSome(sharing.map(([name]) => `'${name}'`))} have the same password`,
      hint: "Whoever gets one opens them all: give each a password of its own.",
    });
  }
  return findings;
}

/**
 * Points of which a repair found something lacking that has not come back since.
 * @param points newest first.
 */
export async function notWholeFindings(
  name: string,
  repository: Repository,
  points: readonly Point[],
  { signal }: { signal: AbortSignal },
): Promise<Finding[]> {
  const lacking: Point[] = [];
  for (const point of points) if (await isNotWhole(repository, point, { signal })) lacking.push(point);
  if (lacking.length === 0) return [];
  return [
    {
      kind: "points-not-whole",
      // What would be restored first is what counts.
      level: lacking[0] === points[0] ? "alarm" : "warning",
      message: `${plural(lacking.length, "restore point")} in '${name}' ${lacking.length === 1 ? "is" : "are"} not whole: ${listSome(lacking.map(({ id }) => shortId(id)))}`,
      hint: "'chatkeep repair packs --from NAME' takes what is lacking from another repository; the next backup stores again what the installation still has.",
    },
  ];
}

/** Repositories that lack the newest points of the one that has the newest of all, and from which nobody took them. */
export function copyFindings(
  points: ReadonlyMap<string, CopiedPoints>,
  whose: { installationId: string; nowMs: number },
): Finding[] {
  const findings: Finding[] = [];
  const times = (name: string) => (points.get(name)?.points ?? []).map(({ takenAtMs }) => takenAtMs);
  // Points in the future tell nothing about who got the last one.
  const newest = (name: string) => Math.max(-Infinity, ...times(name).filter((takenAtMs) => takenAtMs <= whose.nowMs));
  const [ahead] = [...points.keys()].toSorted((a, b) => newest(b) - newest(a));
  for (const [name, copied] of points) {
    if (ahead === undefined || name === ahead || copied.points.length === 0) continue;
    const lacking = pointsLacking(points.get(ahead)?.points ?? [], copied, whose).map(({ id }) => id);
    const [failed, behind] = [
      lacking.filter((id) => copied.failed.has(id)),
      lacking.filter((id) => !copied.failed.has(id)),
    ];
    if (failed.length > 0) findings.push(notCopied(name, ahead, failed));
    if (behind.length === 0) continue;
    findings.push({
      kind: "copy-behind",
      level: "warning",
      message: `repository '${name}' lacks the newest ${plural(behind.length, "restore point")} of '${ahead}'`,
      hint: `Run: chatkeep copy --repository ${ahead} --to ${name}`,
    });
  }
  return findings;
}

function notCopied(name: string, from: string, points: readonly string[]): Finding {
  return {
    kind: "copy-behind",
    level: "warning",
    message: `repository '${name}' lacks ${plural(points.length, "restore point")} that '${from}' did not give whole: ${listSome(points.map(shortId))}`,
    hint: `The next backup tries again. What is damaged still: ${mendingHint(from, points)}`,
  };
}
