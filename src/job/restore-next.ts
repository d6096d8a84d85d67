/** What is left for a person after a restore beside the installation. */
import type { Manifest } from "../point/manifest.ts";
import { quoteIdentifier } from "../postgres/names.ts";
import type { RestoreSummary } from "./summaries.ts";

/** In order. @param isPartial Not all tables were restored. */
export function nextSteps(manifest: Manifest, summary: RestoreSummary, isPartial: boolean): string[] {
  const next: string[] = [];
  if (summary.config !== null) {
    next.push(
      "put the saved environment back: SECRET_KEY_BASE and ACTIVE_RECORD_ENCRYPTION_* must be exactly the saved ones",
    );
  }
  if (summary.database !== null && summary.database.previous !== null) {
    next.push(
      "restart Chatwoot's web and worker, and look whether all is as it should be",
      `'chatkeep rollback' puts the old database back; when it is no longer wanted, 'chatkeep restore --discard-previous' drops it`,
    );
    return next;
  }
  if (summary.database !== null && isPartial) {
    next.push(
      `look at it with psql; when it is no longer wanted: DROP DATABASE ${quoteIdentifier(summary.database.name)}`,
    );
    return next;
  }
  if (summary.database !== null) {
    next.push(
      `point Chatwoot ${manifest.chatwoot.version ?? ""} at database '${summary.database.name}'`.replace("  ", " "),
    );
  }
  if (summary.storage !== null)
    next.push("move the restored storage folder into place, owned by the user that runs Chatwoot");
  if (summary.code !== null) next.push("put the code changes back: RESTORE.md in the restore point says how");
  if (summary.database !== null) {
    next.push(
      "delete the Redis key alfred:CHATWOOT_INSTALLATION_ONBOARDING, then start web, look at it, and start the worker last",
    );
  }
  return next;
}
