import { runDump } from "../../app/verbs.ts";
import { Failure } from "../../base/errors.ts";
import type { Verb } from "../command.ts";

export const dump: Verb = async ({ given, globals, surroundings, mode, printer }) => {
  if (mode.json) {
    throw new Failure("usage/invalid", "dump writes the file itself to stdout, it takes no --json", {
      hint: "'chatkeep ls POINT PATH --json' lists files as JSON.",
    });
  }
  try {
    await runDump(globals, given.argument(0), given.argument(1), (bytes) => printer.bytes(bytes), surroundings);
  } catch (error) {
    // Whoever read our output has seen enough (`| head`): not an error.
    if (!printer.isClosed) throw error;
  }
  return 0;
};
