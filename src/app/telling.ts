/** Telling people how a run went. Nothing here ever makes a good run fail: what cannot be told is a finding, and kept. */
import { isFailure, type Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { mapConcurrent } from "../base/concurrent.ts";
import type { NoticeOutcome } from "../job/run-summary.ts";
import { deliver, type DeliveryTools, ping } from "../notify/deliver.ts";
import { type Channel, isWanted, type Notice } from "../notify/notice.ts";
import { dropKept, keepNotice, readKept } from "../notify/outbox.ts";
import type { BrokenChannel } from "./channels.ts";

export interface Telling {
  notices: NoticeOutcome[];
  findings: Finding[];
}

export interface TellingTools extends DeliveryTools {
  /** Where undelivered notices lie. */
  readonly folder: string;
  /** Takes secrets out of what is written to disk and sent away. */
  readonly redact: <T>(value: T) => T;
}

/** What earlier runs could not tell, then what this one has to. */
export async function tellAll(
  { channels, broken }: { channels: readonly Channel[]; broken: readonly BrokenChannel[] },
  notice: Notice,
  tools: TellingTools,
): Promise<Telling> {
  const safe = tools.redact(notice);
  const late = await tellLate(channels, broken, tools);
  const wanted = channels.filter((channel) => isWanted(channel, notice.outcome));
  const told = await mapConcurrent(
    wanted,
    LIMITS.noticeChannels,
    async (channel) => await tell(channel, safe, late.failed.get(channel.name), tools),
    tools,
  );
  const findings = [
    ...[...late.failed].map(([channel, failure]) => undelivered(channel, failure)),
    ...told.flatMap(({ outcome: { channel }, failure, isKept }) => {
      return failure === undefined || late.failed.has(channel) ? [] : [undelivered(channel, failure, { isKept })];
    }),
    ...broken.map(({ name, failure }) => undelivered(name, failure, { isKept: false })),
  ];
  return { notices: [...late.notices, ...told.map(({ outcome }) => outcome)], findings };
}

/** Only what could not be told before. @returns what still cannot be. */
export async function tellKept(
  { channels, broken }: { channels: readonly Channel[]; broken: readonly BrokenChannel[] },
  tools: TellingTools,
): Promise<Finding[]> {
  const { failed } = await tellLate(channels, broken, tools);
  return [...failed].map(([channel, failure]) => undelivered(channel, failure));
}

interface Told {
  outcome: NoticeOutcome;
  failure: Failure | undefined;
  isKept: boolean;
}

/** @param known what an earlier notice has just met there: then this one is kept without being tried. */
async function tell(channel: Channel, notice: Notice, known: Failure | undefined, tools: TellingTools): Promise<Told> {
  const outcome = { channel: channel.name, kind: channel.kind, delivered: true, isLate: false, message: null };
  try {
    if (known !== undefined) throw known;
    await deliver(channel, notice, tools);
    return { outcome, failure: undefined, isKept: false };
  } catch (error) {
    if (!isFailure(error)) throw error;
    const isKept = await keepNotice(tools.folder, channel.name, notice, tools.clock.now()).then(
      () => true,
      // A full disk, say: that it was not told is told all the same.
      () => false,
    );
    return { outcome: { ...outcome, delivered: false, message: error.message }, failure: error, isKept };
  }
}

interface LateTelling {
  notices: NoticeOutcome[];
  failed: Map<string, Failure>;
}

/** In order, for each channel; one that does not take the first is not asked for the rest. */
async function tellLate(
  channels: readonly Channel[],
  broken: readonly BrokenChannel[],
  tools: TellingTools,
): Promise<LateTelling> {
  const notices: NoticeOutcome[] = [];
  const failed = new Map<string, Failure>();
  const unusable = new Set(broken.map(({ name }) => name));
  for (const kept of await readKept(tools.folder)) {
    const channel = channels.find(({ name }) => name === kept.channel);
    const isOld = tools.clock.now() - kept.atMs > LIMITS.noticeKeptMs;
    if (isOld || (channel === undefined && !unusable.has(kept.channel))) await dropKept(kept);
    else if (channel !== undefined && !failed.has(channel.name)) {
      const outcome = { channel: channel.name, kind: channel.kind, delivered: true, isLate: true, message: null };
      try {
        await deliver(channel, { ...kept.notice, title: `${kept.notice.title} (late)` }, tools);
        await dropKept(kept);
        notices.push(outcome);
      } catch (error) {
        if (!isFailure(error)) throw error;
        failed.set(channel.name, error);
        notices.push({ ...outcome, delivered: false, message: error.message });
      }
    }
  }
  return { notices, failed };
}

/** That somebody could not be told, and what becomes of it. */
export function undelivered(channel: string, failure: Failure, { isKept = true } = {}): Finding {
  const later = isKept ? " The notice is kept, and the next run sends it." : "";
  return {
    kind: "notice-failed",
    level: "warning",
    subject: channel,
    message: `'${channel}' could not be told: ${failure.message}`,
    hint: `${failure.hint ?? "See why."}${later} 'chatkeep notify --test' tries every channel.`,
  };
}

/** Calls a dead-man's switch; that it cannot be called is a finding. */
export async function callSwitch(url: URL | undefined, tools: DeliveryTools): Promise<Finding[]> {
  if (url === undefined) return [];
  try {
    await ping(url, tools);
    return [];
  } catch (error) {
    if (!isFailure(error)) throw error;
    return [pingFailed(error)];
  }
}

export function pingFailed(failure: Failure): Finding {
  return {
    kind: "ping-failed",
    level: "warning",
    message: `the address of 'ping' was not called: ${failure.message}`,
    hint: `${failure.hint ?? "See why."} Whoever waits for it will raise the alarm; 'chatkeep notify --test' tries it.`,
  };
}
