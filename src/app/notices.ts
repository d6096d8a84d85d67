/** `notify`: who is told, and whether it arrives. */
import { hostname } from "node:os";
import { mapConcurrent } from "../base/concurrent.ts";
import { type Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { ChannelLine, NotifySummary } from "../job/schedule-summary.ts";
import { deliver, ping } from "../notify/deliver.ts";
import type { Notice } from "../notify/notice.ts";
import { readKept } from "../notify/outbox.ts";
import { type BrokenChannel, channelNames, openChannels, openPings, outcomesOf } from "./channels.ts";
import { type Config, loadConfig } from "./config.ts";
import { findStateFolder } from "./state-folder.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export async function runNotify(
  globals: Globals,
  { test }: { test: boolean },
  s: Surroundings,
): Promise<NotifySummary> {
  const loaded = await loadConfig(globals, s);
  const { config } = loaded;
  const waiting = Map.groupBy(await readKept((await findStateFolder(loaded, s)).notices), ({ channel }) => channel);
  const names = channelNames(config.notify ?? []);
  const lines = (config.notify ?? []).map((configured, index): ChannelLine => {
    const name = names[index] ?? configured.kind;
    const on = [...outcomesOf(configured)];
    return { ...untried(name, configured.kind), on, waiting: waiting.get(name)?.length ?? 0 };
  });
  const pinged = config.ping === undefined ? [] : [{ ...untried("ping", "ping"), on: ["start", "success", "failure"] }];
  if (!test) return { type: "summary", verb: "notify", tested: false, channels: [...lines, ...pinged] };
  const failures = await tryAll(config, s);
  const channels = [...lines, ...pinged].map((line): ChannelLine => {
    const failure = failures.get(line.name);
    return {
      ...line,
      delivered: failure === undefined,
      message: failure?.message ?? null,
      hint: failure?.hint ?? null,
    };
  });
  return { type: "summary", verb: "notify", tested: true, channels };
}

function untried(name: string, kind: string): ChannelLine {
  return { name, kind, on: [], waiting: 0, delivered: null, message: null, hint: null };
}

/** What went wrong, by channel. */
async function tryAll(config: Config, s: Surroundings): Promise<Map<string, Failure>> {
  const { channels, broken } = await openChannels(config, s);
  const failures = new Map(broken.map(({ name, failure }: BrokenChannel) => [name, failure]));
  const attempt = async (name: string, work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      if (s.signal.aborted || !isFailure(error)) throw error;
      failures.set(name, error);
    }
  };
  const notice = trial(config);
  s.progress.stage("sending trial notices");
  await mapConcurrent(
    channels,
    LIMITS.noticeChannels,
    async (channel) => await attempt(channel.name, async () => await deliver(channel, notice, s)),
    s,
  );
  await attempt("ping", async () => {
    // The sign of a good run: a trial must not raise an alarm.
    const { success } = await openPings(config.ping, s);
    if (success !== undefined) await ping(success, s);
  });
  return failures;
}

function trial({ installation }: Config): Notice {
  const host = hostname();
  return {
    outcome: "success",
    title: `[chatkeep] ${installation.name}: trial notice`,
    text: `This is a trial of Chatkeep on ${host} for installation ${installation.name}.\n\nNothing happened, and nothing is to be done: what is to be told of the daily run arrives here.\n`,
    facts: { installation, host, trial: true },
  };
}
