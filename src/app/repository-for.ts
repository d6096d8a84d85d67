/**
 * Which of several repositories is read for what a word means. One may have been away for hours: what is restored from it would be
 * older than need be, and nobody would see it.
 */
import { isFailure } from "../base/errors.ts";
import { listPoints, resolvePoint } from "../job/points.ts";
import { type AskedWord, type LookedAt, lookAtEach, mostOf } from "../job/which-repository.ts";
import { isMomentAlone, parseMoment } from "../point/moment.ts";
import { loadConfig, type LoadedConfig, type RepositoryConfig } from "./config.ts";
import { type Answer, betterBy, choiceFindings, isLooked, isName, noAnswer } from "./repository-findings.ts";
import { readPassword } from "./secrets.ts";
import { isAway, openAnsweringRepository, type OpenedRepository, openOf, openToRead } from "./session.ts";
import type { Globals, Person, Surroundings } from "./surroundings.ts";

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
  // Once: opening takes seconds, and somebody may have to type a password.
  const saidAtMs = s.clock.now();
  const loaded = globals.repository === undefined ? await loadConfig(globals, s) : undefined;
  if (loaded === undefined || loaded.config.repositories.length < 2)
    return { ...(await openToRead(globals, s)), saidAtMs };
  const words = given.map((word): AskedWord => ({ word, asked: askedBy(word, saidAtMs, s) }));
  // A name means the same point wherever it is: the others are asked where the first does not have it.
  if (words.every(isName)) {
    const { passedOver, ...opened } = await openAnsweringRepository(globals, s);
    if (await hasAll(opened, words, s)) {
      const why = passedOver.map(({ name, failure }) => noAnswer(name, failure));
      for (const line of why) s.progress.say(`${line}: reading from '${opened.name}'`);
      return why.length === 0 ? opened : { ...opened, why: why.join("; ") };
    }
  }
  return { ...(await openBest(loaded, words, s, options)), saidAtMs };
}

function askedBy(word: string, saidAtMs: number, { atMs }: Surroundings): AskedWord["asked"] {
  const asked = parseMoment(word, saidAtMs);
  // Where a repository is read as it was a time means the restore point before it.
  return atMs !== undefined && !isMomentAlone(word) ? undefined : asked;
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

async function openBest(
  loaded: LoadedConfig,
  words: readonly AskedWord[],
  s: Surroundings,
  { subject, slackMs = 0 }: ChoiceOptions,
): Promise<OpenedRepository> {
  const { repositories, installation } = loaded.config;
  const [first] = repositories;
  const { person, typing } = attended(s.person);
  const told = first && (await withPassword(first, s));
  const answers = await lookAtEach(repositories, {
    // Two that ask for a password at once would be one too many.
    open: async (one, signal) =>
      await openOf(loaded, (one === first ? told : undefined) ?? one, {
        ...s,
        signal,
        person: one === first ? person : undefined,
      }),
    words,
    installationId: installation.id,
    typing,
    onSlow: ({ name }) => s.progress.say(`repository '${name}' takes long to say what it has: it is waited for`),
    clock: s.clock,
    signal: s.signal,
  });
  const looked = lookedAt(repositories, answers);
  const best = mostOf(looked, { slackUs: BigInt(slackMs) * 1000n });
  const [preferred] = looked;
  if (first === undefined || best === undefined || preferred === undefined) {
    const failure = repositories.map((one) => answers.get(one)).find((answer) => isFailure(answer));
    throw failure ?? s.signal.reason;
  }
  const { name } = best.opened;
  let isBefore = true;
  for (const one of repositories) {
    const answer = answers.get(one);
    if (isLooked(answer)) isBefore = false;
    else
      s.progress.say(
        `${noAnswer(one.name, answer)}: ${isBefore ? `reading from '${name}'` : "whether it has more is not known"}`,
      );
  }
  const firstAnswer = answers.get(first);
  const why = isLooked(firstAnswer) ? [] : [noAnswer(first.name, firstAnswer)];
  if (best !== preferred) {
    const better = betterBy(best, preferred, words);
    s.progress.say(`${subject ?? `'${better.word}'`} is read from repository '${name}': ${better.why}`);
    why.push(better.why);
  }
  const findings = choiceFindings({ repositories, answers, best, words });
  return { ...best.opened, findings, ...(why.length === 0 ? {} : { why: why.join("; ") }) };
}

/** A command for a password may ask whoever is at the terminal: it gets its time before that of the others begins. */
async function withPassword(first: RepositoryConfig, s: Surroundings): Promise<RepositoryConfig> {
  const { "password-command": command, ...rest } = first;
  if (s.person === undefined || command === undefined) return first;
  return { ...rest, password: await readPassword(first, s) };
}

/** A person, and whether they are being asked. */
function attended(person: Person | undefined): { person: Person | undefined; typing: () => Promise<void> | undefined } {
  let asking: Promise<void> | undefined;
  const noting = async <T>(ask: (one: Person) => Promise<T>, one: Person): Promise<T> => {
    const answered = ask(one);
    const over = () => void (asking = undefined);
    asking = answered.then(over, over);
    return await answered;
  };
  const noted = person && {
    confirm: async (question: string) => await noting(async (one) => await one.confirm(question), person),
    text: async (question: string, suggested?: string) =>
      await noting(async (one) => await one.text(question, suggested), person),
    secret: async (question: string) => await noting(async (one) => await one.secret(question), person),
  };
  return { person: noted, typing: () => asking };
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
