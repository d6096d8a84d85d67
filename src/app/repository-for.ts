/**
 * Which of several repositories is read for what a word means. One may have been away for hours: what is restored from it would be
 * older than need be, and nobody would see it.
 */
import { isDeepStrictEqual } from "node:util";
import { formatSeconds } from "../base/bytes.ts";
import { formatInstant } from "../base/clock.ts";
import { type Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { listPoints, resolvePoint } from "../job/points.ts";
import { type AskedWord, type LookedAt, lookAtEach, mostOf, type Standing } from "../job/which-repository.ts";
import { formatMicros } from "../point/continuous.ts";
import { formatPosition, isMomentAlone, parseMoment } from "../point/moment.ts";
import { loadConfig, type LoadedConfig, type RepositoryConfig } from "./config.ts";
import { isAway, openAnsweringRepository, type OpenedRepository, openOf, openToRead } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface ChoiceOptions {
  /** What is said to be read; by default the word. */
  readonly subject?: string;
  /** One whose log goes so much further and begins later than that of one before it is not preferred: milliseconds. */
  readonly slackMs?: number;
}

/**
 * The repository that has most of what the words mean: the newest of `now` and `latest`, and of any other the first that has it. Says
 * which it is where that is not the first, and which do not answer. One that `--repository` names is taken as it is.
 * @throws what the first answered that can be had and not be read; what the first answered, when none can be had.
 */
export async function openFor(
  globals: Globals,
  given: readonly string[],
  s: Surroundings,
  options: ChoiceOptions = {},
): Promise<OpenedRepository> {
  const loaded = globals.repository === undefined ? await loadConfig(globals, s) : undefined;
  if (loaded === undefined || loaded.config.repositories.length < 2) return await openToRead(globals, s);
  const words = given.map((word): AskedWord => ({ word, asked: askedBy(word, s) }));
  // A name means the same point wherever it is: the others are asked where the first does not have it.
  if (words.every(isName)) {
    const { passedOver, ...opened } = await openAnsweringRepository(globals, s);
    if (await hasAll(opened, words, s)) {
      for (const { name, failure } of passedOver)
        s.progress.say(`${noAnswer(name, failure)}: reading from '${opened.name}'`);
      return opened;
    }
  }
  return await openBest(loaded, words, s, options);
}

function askedBy(word: string, s: Surroundings): AskedWord["asked"] {
  const asked = parseMoment(word, s.clock.now());
  // Where a repository is read as it was a time means the restore point before it.
  return s.atMs !== undefined && !isMomentAlone(word) ? undefined : asked;
}

function isName({ word, asked }: AskedWord): boolean {
  return asked === undefined && /^[0-9a-f]+$/.test(word);
}

async function hasAll({ repository, config }: OpenedRepository, words: readonly AskedWord[], s: Surroundings) {
  const list = await listPoints(repository, s);
  try {
    for (const { word } of words) resolvePoint(list, word, config?.installation.id);
    return true;
  } catch (error) {
    if (!isFailure(error, "point/not-found")) throw error;
    return false;
  }
}

type Answer = LookedAt<OpenedRepository> | Failure | undefined;

async function openBest(
  loaded: LoadedConfig,
  words: readonly AskedWord[],
  s: Surroundings,
  { subject, slackMs = 0 }: ChoiceOptions,
): Promise<OpenedRepository> {
  const { repositories, installation } = loaded.config;
  const [first] = repositories;
  const answers = await lookAtEach(repositories, {
    // Two that ask for a password at once would be one too many.
    open: async (one, signal) =>
      await openOf(loaded, one, { ...s, signal, person: one === first ? s.person : undefined }),
    words,
    installationId: installation.id,
    clock: s.clock,
    signal: s.signal,
  });
  const looked = lookedAt(repositories, answers);
  const best = mostOf(looked, { slackUs: BigInt(slackMs) * 1000n });
  const [preferred] = looked;
  if (best === undefined || preferred === undefined) {
    const failure = repositories.map((one) => answers.get(one)).find((answer) => isFailure(answer));
    throw failure ?? s.signal.reason;
  }
  let isBefore = true;
  for (const one of repositories) {
    const answer = answers.get(one);
    if (isLooked(answer)) isBefore = false;
    else
      s.progress.say(
        `${noAnswer(one.name, answer)}: ${isBefore ? `reading from '${best.opened.name}'` : "whether it has more is not known"}`,
      );
  }
  if (best !== preferred) s.progress.say(whyNotFirst(best, preferred, { words, subject }));
  return best.opened;
}

/** Those that can be read, in the order of the configuration. @throws what one answered that can be had, where none before it can be read. */
function lookedAt(
  repositories: readonly RepositoryConfig[],
  answers: ReadonlyMap<RepositoryConfig, Answer>,
): LookedAt<OpenedRepository>[] {
  const looked: LookedAt<OpenedRepository>[] = [];
  for (const one of repositories) {
    const answer = answers.get(one);
    if (isLooked(answer)) looked.push(answer);
    // A wrong password or damage: somebody must look.
    else if (answer !== undefined && looked.length === 0 && !isAway(answer)) throw answer;
  }
  return looked;
}

function isLooked(answer: Answer): answer is LookedAt<OpenedRepository> {
  return answer !== undefined && !isFailure(answer);
}

function noAnswer(name: string, failure: Failure | undefined): string {
  const seconds = formatSeconds(LIMITS.placeAnswerMs / 1000);
  if (failure === undefined) return `repository '${name}' has not answered in ${seconds}`;
  const { message } = failure;
  return isAway(failure)
    ? `repository '${name}' does not answer (${message})`
    : `repository '${name}' cannot be read (${message})`;
}

/** By the first of the words in which they differ. */
function whyNotFirst(
  best: LookedAt<OpenedRepository>,
  first: LookedAt<OpenedRepository>,
  { words, subject }: { words: readonly AskedWord[]; subject: string | undefined },
): string {
  const differing = words.findIndex((_, at) => !isDeepStrictEqual(best.standings[at], first.standings[at]));
  const at = Math.max(differing, 0);
  const [one, other] = [best.standings[at], first.standings[at]];
  const [name, firstName] = [best.opened.name, first.opened.name];
  const what = subject ?? `'${words[at]?.word ?? ""}'`;
  return `${what} is read from repository '${name}': ${comparison(one, { name: firstName, standing: other })}`;
}

function comparison(
  one: Standing | undefined,
  { name, standing }: { name: string; standing: Standing | undefined },
): string {
  if (one?.us === undefined || standing?.us === undefined || one.isExact !== standing.isExact)
    return `'${name}' does not have it`;
  if (one.log === undefined || standing.log === undefined) {
    const [its, that] = [one.us, standing.us].map((us) => formatInstant(Number(us / 1000n)));
    return `it has one of ${its}, '${name}' one of ${that}`;
  }
  const { log } = one;
  const isSameLine = log.systemId === standing.log.systemId && log.timeline === standing.log.timeline;
  if (isSameLine && one.us !== standing.us)
    return `it goes to ${formatMicros(one.us)}, '${name}' to ${formatMicros(standing.us)}`;
  const [its, that] = [log, standing.log].map(({ systemId, timeline, to: lsn }) =>
    formatPosition(isSameLine ? { lsn } : { systemId, timeline, lsn }),
  );
  return `it goes to ${formatMicros(one.us)}, ${its}; '${name}' to ${formatMicros(standing.us)}, ${that}`;
}
