/** How an installation can be protected continuously: by the log where the server lets it be had, else by restore points. */
import { failureOf } from "../base/errors.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { openReplication } from "../postgres/replication.ts";
import type { WatchMode } from "./config-watch.ts";
import type { Surroundings } from "./surroundings.ts";

export interface ChosenMode {
  readonly mode: Exclude<WatchMode, "auto">;
  /** Why the log is not followed, where that would have been better. */
  readonly why?: string;
}

/** What time may mend is no reason to do with less. */
const MAY_PASS = new Set(["database/unreachable", "database/full"]);

/** @throws Failure why the log cannot be had, where only that was asked for; what keeps from telling. */
export async function chooseMode(asked: WatchMode, address: ServerAddress, s: Surroundings): Promise<ChosenMode> {
  if (asked === "interval") return { mode: "interval" };
  try {
    await using session = await openReplication(address, { signal: s.signal });
    await session.identifySystem();
    return { mode: "stream" };
  } catch (error) {
    s.signal.throwIfAborted();
    const failure = failureOf(error);
    if (asked === "stream" || failure.code === "internal/bug" || MAY_PASS.has(failure.code)) throw error;
    return { mode: "interval", why: failure.message };
  }
}
