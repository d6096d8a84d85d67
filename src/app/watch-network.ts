/**
 * A container that shares another's network loses it for good when that one is started anew: all but loopback is gone, and what listens
 * in the new network is seen only by who is started after it. So a watch in there ends, and whoever keeps it running starts it into the
 * new one.
 */
import { networkInterfaces } from "node:os";
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { ownContainerId } from "../system/own-container.ts";

/** Looks one after the other without a network: an engine takes it away for moments, too. */
const LOOKS = 3;

/** Whether this process is in a container that has a network beside loopback, which it may lose. */
export function mayLoseNetwork(): boolean {
  return ownContainerId() !== undefined && hasNetwork();
}

/** True where anything but loopback is there. */
export function hasNetwork(interfaces = networkInterfaces()): boolean {
  return Object.values(interfaces).some((addresses) => addresses?.some(({ internal }) => !internal) === true);
}

/**
 * Until the network is gone.
 * @throws Failure `database/unreachable` then; the signal's reason.
 */
export async function watchNetwork(
  { clock, signal }: { clock: Clock; signal: AbortSignal },
  isThere: () => boolean = hasNetwork,
): Promise<never> {
  for (let missed = 0; ;) {
    await clock.sleep(LIMITS.watchReportMs, signal);
    missed = isThere() ? 0 : missed + 1;
    if (missed < LOOKS) continue;
    throw new Failure(
      "database/unreachable",
      "the network of this container is gone, as when the container that lends it was started anew",
      {
        hint: "Start this one anew: with 'restart: always' that is done by itself. If the other was made anew, run 'docker compose up --detach'.",
      },
    );
  }
}
