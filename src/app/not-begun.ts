/** A daily run that could not even begin: whoever can be reached is told all the same. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import { formatInstant, parseZonedInstant } from "../base/clock.ts";
import { ERRORS, type Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { deliver } from "../notify/deliver.ts";
import { isWanted, type Notice } from "../notify/notice.ts";
import { makeFolders } from "../system/folders.ts";
import { replaceFile } from "../system/replace-file.ts";
import { openChannels, openPings } from "./channels.ts";
import { findReachable, type Reachable } from "./reachable.ts";
import { SYSTEM_STATE } from "./state-folder.ts";
import { callSwitch } from "./telling.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

/**
 * Tells those whom the configuration names, as far as it can be read. Nothing is kept for later: the next run tells what is so
 * then. With `isOnceADay` the same failure is told once a day only: a container is started again and again. Never rejects for what stands in the way: the failure itself is what is to be told at the door.
 */
export async function tellNotBegun(
  failure: Failure,
  globals: Globals,
  s: Surroundings,
  { isOnceADay = false } = {},
): Promise<void> {
  try {
    const found = await findReachable(globals, s);
    if (found === undefined) return;
    if ((await wasToldToday(failure, found, s)) && isOnceADay) return;
    const { channels } = await openChannels(found, s);
    const notice = s.redact(noticeOf(failure, found.name, s.clock.now()));
    const { failure: url } = await openPings(found.ping, s).catch(() => ({ failure: undefined }));
    const wanted = channels.filter((channel) => isWanted(channel, notice.outcome));
    for (const channel of wanted) {
      await deliver(channel, notice, s).catch((error: unknown) => {
        if (!isFailure(error)) throw error;
        s.progress.say(`'${channel.name}' could not be told: ${error.message}`);
      });
    }
    await callSwitch(url, s);
  } catch (error) {
    if (!isFailure(error)) throw error;
  }
}

/** Remembers that it is told now. False where nothing can be remembered: better told too often than never. */
async function wasToldToday({ message }: Failure, { path, stateFolder }: Reachable, s: Surroundings): Promise<boolean> {
  const name = `not-begun-${createHash("sha256").update(path).digest("hex").slice(0, 16)}`;
  for (const folder of [stateFolder ?? SYSTEM_STATE, join(dirname(path), "state")]) {
    const file = join(resolve(s.cwd, folder), name);
    const [at = "", ...told] = (await readFile(file, "utf8").catch(() => "")).split("\n");
    const now = s.clock.now();
    const again = (parseZonedInstant(at) ?? -Infinity) + LIMITS.notBegunAgainMs;
    const text = s.redact(message);
    if (now < again && told.join("\n") === text) return true;
    try {
      await makeFolders(dirname(file), 0o700);
      await replaceFile(file, `${formatInstant(now)}\n${text}`, 0o600);
      return false;
    } catch {
      continue;
    }
  }
  return false;
}

function noticeOf({ code, message, hint }: Failure, name: string, nowMs: number): Notice {
  const at = formatInstant(nowMs);
  const host = hostname();
  const lines = [
    `${name === "" ? "The daily run" : `The daily run of installation ${name}`}, on ${host}, could not begin at ${at}.`,
    "",
    `error: ${message}`,
    ...(hint === undefined ? [] : [`  ${hint}`]),
    "",
    "No restore point was made. Earlier ones are untouched.",
    "Mend that, then run 'chatkeep run'. 'chatkeep doctor' looks at everything.",
  ];
  return {
    outcome: "failure",
    title: `[chatkeep] ${name === "" ? host : name}: NO BACKUP was made`,
    text: `${lines.join("\n")}\n`,
    facts: {
      installation: name === "" ? null : { name },
      host,
      startedAt: at,
      endedAt: at,
      exit: ERRORS[code].exit,
      stages: [],
      findings: [],
      error: { code, message, hint: hint ?? null },
    },
  };
}
