import { Failure } from "../../base/errors.ts";
import { runInit } from "../../app/verbs.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatAdded, formatInit, formatReturn } from "../reports/init.ts";

export const init: Verb = async (invocation) => {
  const { given, globals, mode, surroundings } = invocation;
  const name = given.text("name");
  const location = given.text("location") ?? globals.repository;
  const add = given.text("add");
  const wouldAsk =
    given.text("from") === undefined && add === undefined && (name === undefined || location === undefined);
  if (wouldAsk && !mode.yes && surroundings.person === undefined) {
    throw new Failure("usage/invalid", "nobody is at a terminal to answer the questions of init", {
      hint: "Give --location and --name, or take what is suggested with --yes.",
    });
  }
  const summary = await runInit(
    globals,
    {
      name,
      location,
      root: given.text("root"),
      envFile: given.text("envFile"),
      databaseUrl: given.text("databaseUrl"),
      storage: given.text("storage"),
      code: given.text("code"),
      project: given.text("project"),
      namespace: given.text("namespace"),
      passwordFile: given.text("passwordFile"),
      add,
      from: given.text("from"),
    },
    surroundings,
  );
  const format = add !== undefined ? formatAdded : given.text("from") === undefined ? formatInit : formatReturn;
  answer(invocation, summary, format);
  return tellFindings(invocation, summary.findings);
};
