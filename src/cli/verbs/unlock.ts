import { listLocks, runUnlock } from "../../app/tidy.ts";
import { Failure } from "../../base/errors.ts";
import { answer } from "../answer.ts";
import type { Invocation, Verb } from "../command.ts";
import { formatLocks, formatUnlock } from "../reports/unlock.ts";

export const unlock: Verb = async (invocation) => {
  const { given, globals, surroundings } = invocation;
  const which = given.has("removeAll") ? await confirmed(invocation) : "stale";
  answer(invocation, await runUnlock(globals, { which }, surroundings), formatUnlock);
  return 0;
};

/** Exactly the locks that were shown: one that comes meanwhile is somebody's. */
async function confirmed({ globals, mode, surroundings, printer, progress, redactor, look }: Invocation) {
  const { person } = surroundings;
  if (!mode.yes && person === undefined) {
    throw new Failure("usage/invalid", "nobody is at a terminal to confirm that every lock goes", {
      hint: "See that nobody uses the repository, then say --yes; without --remove-all only stale locks go.",
    });
  }
  const locks = await listLocks(globals, surroundings);
  const ids = locks.map(({ lock }) => lock);
  if (mode.yes || person === undefined || locks.length === 0) return ids;
  progress.end();
  printer.note(formatLocks(redactor.redactDeep(locks), look));
  if (await person.confirm("Remove all of them?")) return ids;
  throw new Failure("run/cancelled", "nothing was confirmed", { hint: "Nothing was changed." });
}
