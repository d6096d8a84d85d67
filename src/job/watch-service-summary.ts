/** What `watch --install`, `--remove`, `--print` and `--new-server` answer. */
import type { Finding } from "../base/findings.ts";

export interface WatchServiceSummary {
  type: "summary";
  verb: "watch";
  action: "install" | "remove" | "print" | "new-server";
  /** Who keeps it running; null where nobody does, or nothing was asked. */
  by: "systemd" | "systemd user" | null;
  /** As systemd has it after `install`: `active`, `activating`, `failed` …; null otherwise. */
  state: string | null;
  installed: string[];
  removed: string[];
  /** The slot at the server: whether it was there, and whether it was dropped. Null where nobody looked. */
  slot: { name: string; wasThere: boolean; isDropped: boolean } | null;
  /** After `remove`: what is left as it is, a sentence each. */
  stays: string[];
  /** After `new-server`: the one that is followed from now on. */
  server: { address: string; systemId: string } | null;
  manifest: string | null;
  findings: Finding[];
}
