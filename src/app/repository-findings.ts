/** What is told of the repositories beside the one that is read: which could not be asked, and which have what that one lacks. Pure. */
import { formatSeconds } from "../base/bytes.ts";
import { formatInstant } from "../base/clock.ts";
import { type Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { type AskedWord, goesFurther, hasMore, type LookedAt, type Standing } from "../job/which-repository.ts";
import { formatMicros } from "../point/continuous.ts";
import { formatPosition } from "../point/moment.ts";
import type { RepositoryConfig } from "./config.ts";
import { isAway, type OpenedRepository } from "./session.ts";

type Looked = LookedAt<OpenedRepository>;
/** Undefined where there was none in time. */
export type Answer = Looked | Failure | undefined;

export function isLooked(answer: Answer): answer is Looked {
  return answer !== undefined && !isFailure(answer);
}

export function noAnswer(name: string, failure: Failure | undefined): string {
  const seconds = formatSeconds(LIMITS.placeAnswerMs / 1000);
  if (failure === undefined) return `repository '${name}' has not answered in ${seconds}`;
  const { message } = failure;
  return isAway(failure)
    ? `repository '${name}' does not answer (${message})`
    : `repository '${name}' cannot be read (${message})`;
}

/** True for what is the same in whichever repository it is: a name of a point. */
export function isName({ word, asked }: AskedWord): boolean {
  return asked === undefined && /^[0-9a-f]+$/.test(word);
}

const NOT_ASKED = "repository-not-asked";
const GOES_FURTHER = "repository-goes-further";
const NEWER_POINT = "repository-newer-point";
const KINDS: ReadonlySet<string> = new Set([NOT_ASKED, GOES_FURTHER, NEWER_POINT]);

/** Those that {@link choiceFindings} made. */
export function ofChoice(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ kind }) => KINDS.has(kind));
}

export interface Choice {
  readonly repositories: readonly RepositoryConfig[];
  readonly answers: ReadonlyMap<RepositoryConfig, Answer>;
  readonly best: Looked;
  readonly words: readonly AskedWord[];
}

/** What whoever brings back what the words mean must know of the repositories that are not read. */
export function choiceFindings({ repositories, answers, best, words }: Choice): Finding[] {
  const couldBeNewer = words.some((word, at) => !isName(word) && !isSettled(best.standings[at]));
  const findings: Finding[] = [];
  let isBefore = true;
  for (const one of repositories) {
    const answer = answers.get(one);
    if (answer === best) isBefore = false;
    else if (isLooked(answer)) findings.push(...lacking(answer, best, words));
    else if (couldBeNewer) findings.push(notAsked(one.name, { answer, best, isBefore }));
  }
  return findings;
}

/** A position, or a time that the log has, is the same wherever it is. */
function isSettled(standing: Standing | undefined): boolean {
  return standing?.isExact === true && standing.us === undefined;
}

function notAsked(
  other: string,
  { answer, best, isBefore }: { answer: Failure | undefined; best: Looked; isBefore: boolean },
): Finding {
  const { name } = best.opened;
  const message = `${noAnswer(other, answer)}: what it has may be newer than what is read from '${name}'`;
  // As on a new machine, where one of them is set up: that the others' passwords are not there yet is no trouble of theirs.
  const isUnknownHere = !isBefore && answer?.code === "config/invalid";
  return {
    kind: NOT_ASKED,
    level: isBefore ? "alarm" : isUnknownHere ? "note" : "warning",
    message,
    hint: isUnknownHere
      ? `Where its password is put there, it is asked, too. With --repository ${name} that one is meant, and no other is asked.`
      : `Say it again when it answers. With --repository ${name} that one is meant, and no other is asked.`,
  };
}

/** What another has that the one that is read has not. */
function lacking(other: Looked, best: Looked, words: readonly AskedWord[]): Finding[] {
  const { name } = best.opened;
  const { name: otherName } = other.opened;
  const isOlder = (best.newestPointUs ?? 0n) < (other.newestPointUs ?? 0n);
  const findings: Finding[] = [];
  const further = words.findIndex((_, at) => goesFurther(other.standings[at], { than: best.standings[at] }));
  const [itsUs, us] = [other.standings[further]?.us, best.standings[further]?.us];
  if (itsUs !== undefined && us !== undefined) {
    findings.push({
      kind: GOES_FURTHER,
      level: "warning",
      message: `the log in '${otherName}' goes to ${formatMicros(itsUs)}, and that in '${name}', which is read, to ${formatMicros(us)}`,
      hint: `'${name}' has what is longer ago, or newer restore points for files and configuration. --repository ${otherName} reads the other.`,
    });
  }
  if (isOlder && words.some((word, at) => isAfterPoints(word, at, best)) && other.newestPointUs !== undefined) {
    const has =
      best.newestPointUs === undefined ? "no restore point" : `none newer than of ${shown(best.newestPointUs)}`;
    findings.push({
      kind: NEWER_POINT,
      level: "warning",
      message: `'${otherName}' has a restore point of ${shown(other.newestPointUs)}, and '${name}', which is read, ${has}: uploaded files and configuration may be older, or missing`,
      hint: `Files that are missing afterwards: 'chatkeep restore latest --only storage --missing --repository ${otherName}'. Or bring back all of it from there with --repository ${otherName}.`,
    });
  }
  return findings;
}

/** Files and configuration of a moment come from the restore points on either side: one that lies behind it is lacking then. */
function isAfterPoints({ asked }: AskedWord, at: number, { standings, newestPointUs = 0n }: Looked): boolean {
  if (standings[at]?.isExact !== true) return false;
  return asked?.kind === "now" || (asked?.kind === "time" && asked.us > newestPointUs);
}

function shown(us: bigint): string {
  return formatInstant(Number(us / 1000n));
}

/** By which word one is better than the first that could be asked, and why. */
export function betterBy(best: Looked, first: Looked, words: readonly AskedWord[]): { word: string; why: string } {
  const differing = words.findIndex((_, at) => hasMore(best.standings[at], { than: first.standings[at] }));
  const at = Math.max(differing, 0);
  const [one, standing] = [best.standings[at], first.standings[at]];
  return { word: words[at]?.word ?? "", why: comparison(one, { name: first.opened.name, standing }) };
}

function comparison(
  one: Standing | undefined,
  { name, standing }: { name: string; standing: Standing | undefined },
): string {
  if (one?.us === undefined || standing?.us === undefined || one.isExact !== standing.isExact)
    return `'${name}' does not have it`;
  if (one.log === undefined || standing.log === undefined)
    return `it has one of ${shown(one.us)}, '${name}' one of ${shown(standing.us)}`;
  const { log } = one;
  const isSameLine = log.systemId === standing.log.systemId && log.timeline === standing.log.timeline;
  if (isSameLine && one.us !== standing.us)
    return `it goes to ${formatMicros(one.us)}, '${name}' to ${formatMicros(standing.us)}`;
  const [its, that] = [log, standing.log].map(({ systemId, timeline, to: lsn }) =>
    formatPosition(isSameLine ? { lsn } : { systemId, timeline, lsn }),
  );
  return `it goes to ${formatMicros(one.us)}, ${its}; '${name}' to ${formatMicros(standing.us)}, ${that}`;
}
