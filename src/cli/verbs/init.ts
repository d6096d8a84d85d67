import { runInit } from "../../app/verbs.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatInit, formatReturn } from "../reports/init.ts";

export const init: Verb = async (invocation) => {
  const { given, globals, surroundings } = invocation;
  const summary = await runInit(
    globals,
    {
      name: given.text("name"),
      location: given.text("location") ?? globals.repository,
      root: given.text("root"),
      envFile: given.text("envFile"),
      databaseUrl: given.text("databaseUrl"),
      storage: given.text("storage"),
      code: given.text("code"),
      passwordFile: given.text("passwordFile"),
      from: given.text("from"),
    },
    surroundings,
  );
  answer(invocation, summary, given.text("from") === undefined ? formatInit : formatReturn);
  return tellFindings(invocation, summary.findings);
};
