/** What `doctor` says of the daily run: what would keep it from running, and from being told. */
import { resolve } from "node:path";
import { isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { guardFindings, readGuard } from "../job/guard-record.ts";
import { watchFindings } from "../job/watch-findings.ts";
import { secretFile } from "../job/doctor-repositories.ts";
import { parseCron } from "../schedule/cron.ts";
import { channelNames, openChannels, openPings } from "./channels.ts";
import type { Config, LoadedConfig } from "./config.ts";
import { timesOf } from "./due.ts";
import { findingsOfRestores } from "./restore-home.ts";
import { findStateFolder, guardFile } from "./state-folder.ts";
import type { Surroundings } from "./surroundings.ts";
import { pingFailed, undelivered } from "./telling.ts";
import { timeZoneOf } from "./tidy.ts";
import { readWatch } from "./watched.ts";

export async function dailyFindings(loaded: LoadedConfig, s: Surroundings): Promise<Finding[]> {
  const { config } = loaded;
  const { broken } = await openChannels(config, s);
  return [
    ...(await findingsOfRestores(loaded, s)),
    ...(await unfinishedGuard(loaded, s)),
    ...watchFindings(await readWatch(loaded, s), s.clock.now()),
    ...scheduleFindings(config),
    ...broken.map(({ name, failure }) => undelivered(name, failure, { isKept: false })),
    ...(await pingFindings(config, s)),
    ...(await readableSecrets(config, s)),
    ...(config.notify === undefined && config.ping === undefined ? [NOBODY] : []),
  ];
}

/** An upgrade of which nobody knows yet how it went. */
async function unfinishedGuard(loaded: LoadedConfig, s: Surroundings): Promise<Finding[]> {
  try {
    return guardFindings(await readGuard(guardFile(await findStateFolder(loaded, s))));
  } catch (error) {
    if (!isFailure(error, "guard/unfinished")) throw error;
    return [{ kind: "guard-unfinished", level: "alarm", message: error.message, hint: error.hint ?? "See why." }];
  }
}

const NOBODY: Finding = {
  kind: "nobody-told",
  level: "note",
  message: "nobody is told when a daily run fails, or does not happen",
  hint: "Set 'notify' and 'ping' in the configuration: 'chatkeep help daily'.",
};

function scheduleFindings(config: Config): Finding[] {
  try {
    parseCron(timesOf(config), timeZoneOf(config));
    return [];
  } catch (error) {
    if (!isFailure(error)) throw error;
    return [{ kind: "schedule-invalid", level: "warning", message: error.message, hint: error.hint ?? "Mend it." }];
  }
}

async function pingFindings({ ping }: Config, s: Surroundings): Promise<Finding[]> {
  try {
    await openPings(ping, s);
    return [];
  } catch (error) {
    if (!isFailure(error)) throw error;
    return [pingFailed(error)];
  }
}

/** Files that hold a password, a token or the address of a webhook. */
async function readableSecrets({ notify = [], ping }: Config, s: Surroundings): Promise<Finding[]> {
  const names = channelNames(notify);
  const files = notify.flatMap((channel, index) => {
    const what = `a secret of notify '${names[index] ?? channel.kind}'`;
    return [
      "password-file" in channel ? channel["password-file"] : undefined,
      "token-file" in channel ? channel["token-file"] : undefined,
      "url-file" in channel ? channel["url-file"] : undefined,
    ].map((path) => ({ path, what }));
  });
  if (typeof ping === "object") files.push({ path: ping["url-file"], what: "the address of 'ping'" });
  const findings: Finding[] = [];
  for (const { path, what } of files) {
    const found = path === undefined ? undefined : await secretFile(resolve(s.cwd, path), what);
    if (found !== undefined) findings.push(found);
  }
  return findings;
}
