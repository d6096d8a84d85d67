/** What somebody acknowledges is acknowledged in every repository that is reached. */
import { isFailure } from "../base/errors.ts";
import { type Acknowledged, acknowledge, acknowledgeThere, type AckOptions, listAcks } from "../job/ack.ts";
import { isDoctorsOwn } from "../job/quiet.ts";
import type { AckSummary } from "../job/ack-summary.ts";
import { PROGRAM } from "./program.ts";
import { openAnsweringRepository, openChosenRepository, type OpenedRepository, openToRead } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface AckFlags {
  /** A finding's kind, or a word for a point. */
  word: string;
  reason: string | undefined;
}

function ackOptions({ repository, name, config }: OpenedRepository, s: Surroundings): AckOptions {
  const installationId = config?.installation.id;
  return { repository, repositoryName: name, installationId, clock: s.clock, signal: s.signal };
}

export async function runAck(globals: Globals, { word, reason }: AckFlags, s: Surroundings): Promise<AckSummary> {
  const found = isDoctorsOwn(word) ? (await (await import("./doctor.ts")).runDoctor(globals, s)).findings : undefined;
  const opened = await openAnsweringRepository(globals, s);
  const done = await acknowledge(ackOptions(opened, s), { word, reason, found, program: PROGRAM });
  const others = (opened.config?.repositories ?? []).map(({ name }) => name).filter((name) => name !== opened.name);
  for (const name of others) await acknowledgeIn(name, done, globals, s);
  return done.summary;
}

/** What cannot be done is a finding, and the next backup's task. */
async function acknowledgeIn(name: string, done: Acknowledged, globals: Globals, s: Surroundings): Promise<void> {
  const { summary } = done;
  try {
    const other = await openChosenRepository({ ...globals, repository: name }, s);
    if (await acknowledgeThere(ackOptions(other, s), done)) summary.changed = true;
    summary.repositories.push(name);
  } catch (error) {
    if (!isFailure(error) || error.code === "internal/bug" || s.signal.aborted) throw error;
    summary.findings.push({
      kind: "ack-elsewhere",
      level: "warning",
      message: `in repository '${name}' it was not acknowledged: ${error.message}`,
      hint: "The next backup that reaches it does it there too; until then 'chatkeep forget' removes nothing there.",
    });
  }
}

export async function runListAcks(globals: Globals, s: Surroundings): Promise<AckSummary> {
  const opened = await openToRead(globals, s);
  await opened.repository.loadIndex({ signal: s.signal });
  return await listAcks(ackOptions(opened, s));
}
