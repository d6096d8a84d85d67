import { runDemo } from "../../demo/demo.ts";
import type { Verb } from "../command.ts";

export const demo: Verb = async ({ given, surroundings, mode, printer, progress }) => {
  const say = (line: string) => {
    if (mode.json) printer.note(line);
    else if (!mode.quiet) printer.out(line);
  };
  const summary = await runDemo({ keep: given.has("keep"), continuous: given.has("continuous") }, surroundings, say);
  progress.end();
  if (mode.json) printer.json({ ...summary, type: "summary", verb: "demo" });
  return summary.proven ? 0 : 1;
};
