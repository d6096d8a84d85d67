/**
 * A watch runs for weeks, and loads parts of the program, as its threads, when they are needed. Where another version was installed in its
 * place meanwhile, those are of that version, and it is to be started anew.
 */
import type { Clock } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import type { WatchBook } from "../job/watch-book.ts";
import { isOneFile } from "../system/own-parts.ts";
import { readVersion, VERSION } from "./program.ts";

/** Looks one after the other that find another version: an installation takes a while. */
const LOOKS = 2;

/** Undefined where nothing can be read, as while it is being installed. One file has all of its parts in memory. */
function installedVersion(): string | undefined {
  if (isOneFile()) return VERSION;
  try {
    return readVersion();
  } catch {
    return undefined;
  }
}

/** Until the signal is aborted. @throws its reason. */
export async function watchProgram(
  { book, clock, signal }: { book: Pick<WatchBook, "find">; clock: Clock; signal: AbortSignal },
  installed: () => string | undefined = installedVersion,
): Promise<never> {
  for (let seen = 0; ;) {
    await clock.sleep(LIMITS.programLookMs, signal);
    const version = installed();
    seen = version === undefined || version === VERSION ? 0 : seen + 1;
    if (seen === 0) book.find("program");
    if (seen < LOOKS) continue;
    book.find("program", {
      kind: "program-replaced",
      level: "warning",
      message: `Chatkeep ${version ?? ""} was installed in the place of ${VERSION}, which this watch still runs`,
      hint: "Start the watch anew: 'systemctl restart' of its service, or in the way that you run it. It goes on from where it was.",
    });
  }
}
