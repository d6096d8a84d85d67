import { runWatch } from "../../app/verbs.ts";
import { checkWatchTime, isWatchMode } from "../../app/config-watch.ts";
import type { Verb } from "../command.ts";

export const watch: Verb = async ({ given, globals, surroundings }) => {
  const mode = given.text("mode");
  const flushEvery = given.text("flushEvery");
  const interval = given.text("interval");
  checkWatchTime("--flush-every", flushEvery);
  checkWatchTime("--interval", interval);
  await runWatch(globals, { mode: isWatchMode(mode) ? mode : undefined, flushEvery, interval }, surroundings);
  return 0;
};
