/** What a person must know of two environments that differ, and what keeps a restore from being begun. */
import { listSome, plural } from "../../base/bytes.ts";
import type { Finding } from "../../base/findings.ts";
import type { MatchLine, MatchPlace } from "../../chatwoot/environment-match.ts";
import type { Environment } from "../../chatwoot/environment.ts";
import { SAVED_ENVIRONMENT } from "../../point/environment.ts";
import { closedBy, type EnvironmentPlan, type Unsettable } from "./environment-plan.ts";

function byPlace(unsettable: readonly Unsettable[]): string {
  return [...Map.groupBy(unsettable, ({ where }) => where)]
    .map(([where, some]) => `${some.map(({ name }) => name).join(", ")} in ${where}`)
    .join("; ");
}

export function environmentBlockers(
  plan: EnvironmentPlan,
  { closed, denied, point }: { closed: readonly string[]; denied: readonly string[]; point: string },
): Finding[] {
  const blockers: Finding[] = [];
  const fixed = closedBy(plan);
  const dump = `'chatkeep dump ${point} config/${SAVED_ENVIRONMENT}' shows the saved values.`;
  if (fixed.length > 0) {
    blockers.push({
      kind: "environment-must-match",
      level: "alarm",
      message: `Chatkeep cannot write ${byPlace(fixed)}, and what is set there is not what the point's data needs`,
      hint: `Set them there to the saved values, start Chatwoot with them once, and restore again. ${dump}`,
    });
  }
  if (closed.length > 0 && fixed.every(({ name }) => name === "SECRET_KEY_BASE")) {
    blockers.push({
      kind: "environment-keys-do-not-open",
      level: "alarm",
      message: `the encryption keys that this place would have do not open ${listSome(closed)} of the point`,
      hint: `Put the ACTIVE_RECORD_ENCRYPTION_* values of the point into Chatwoot's environment, and restore again. ${dump}`,
    });
  }
  if (denied.length > 0) {
    blockers.push({
      kind: "environment-not-writable",
      level: "alarm",
      message: `${listSome(denied)} cannot be written by this user`,
      hint: "Run Chatkeep as root, or as a user that may write there. Nothing was changed.",
    });
  }
  return blockers;
}

function lineOf(lines: readonly MatchLine[], name: string): MatchLine | undefined {
  return lines.find((line) => line.name === name);
}

function differs(line: MatchLine | undefined): line is MatchLine {
  return line !== undefined && line.isSaved && line.isPresent && !line.isEqual;
}

function addressFindings(
  { lines }: EnvironmentPlan,
  { saved, present, place }: { saved: Environment; present: Environment; place: MatchPlace },
): Finding[] {
  const line = lineOf(lines, "FRONTEND_URL");
  // The address of a clone was given by whoever asked for it.
  if (!differs(line) || place === "clone") return [];
  const [then, now] = [saved.get("FRONTEND_URL") ?? "", present.get("FRONTEND_URL") ?? ""];
  if (line.action === "set") {
    return [
      {
        kind: "address-comes-back",
        level: "warning",
        message: `FRONTEND_URL becomes ${then} again, as it was saved; here it is ${now}`,
        hint: "If this installation was moved to the new address on purpose, write that into its environment again afterwards, and start web and worker.",
      },
    ];
  }
  return [
    {
      kind: "address-stays",
      level: "warning",
      message: `this place keeps its own FRONTEND_URL ${now}; the point was taken under ${then}`,
      hint: `If it takes over for good, let ${then} lead here and set FRONTEND_URL to it; else give the providers of the channels the new address.`,
    },
  ];
}

function storageFindings({ lines }: EnvironmentPlan, saved: Environment, present: Environment): Finding[] {
  const line = lineOf(lines, "ACTIVE_STORAGE_SERVICE");
  if (!differs(line) || line.action !== "keep") return [];
  const [then, now] = [saved.get("ACTIVE_STORAGE_SERVICE") ?? "", present.get("ACTIVE_STORAGE_SERVICE") ?? ""];
  return [
    {
      kind: "storage-service-stays",
      level: "warning",
      message: `new files go to the storage service '${now}' of this place; when the point was taken they went to '${then}'`,
      hint: `To have it as it was: ACTIVE_STORAGE_SERVICE=${then} in Chatwoot's environment. Restored files are read from the service that each row names.`,
    },
  ];
}

function modeFindings({ lines }: EnvironmentPlan, saved: Environment, present: Environment): Finding[] {
  const line = lineOf(lines, "RAILS_ENV");
  if (!differs(line) || line.action !== "keep") return [];
  return [
    {
      kind: "rails-env-differs",
      level: "warning",
      message: `this place runs with RAILS_ENV=${present.get("RAILS_ENV") ?? ""}, the point was taken of RAILS_ENV=${saved.get("RAILS_ENV") ?? ""}`,
      hint: "A live Chatwoot runs as 'production'. Set it in Chatwoot's environment if that is what this place is to be.",
    },
  ];
}

export function environmentFindings(
  plan: EnvironmentPlan,
  where: { saved: Environment; present: Environment; place: MatchPlace },
): Finding[] {
  const { saved, present, place } = where;
  const closed = new Set(closedBy(plan));
  const elsewhere = plan.unsettable.filter((one) => !closed.has(one));
  const findings = [
    ...addressFindings(plan, where),
    ...(place === "clone" ? [] : storageFindings(plan, saved, present)),
    ...modeFindings(plan, saved, present),
  ];
  if (elsewhere.length > 0) {
    findings.push({
      kind: "environment-set-elsewhere",
      level: "warning",
      message: `Chatkeep cannot write ${byPlace(elsewhere)}: what was saved differs`,
      hint: "The restore writes them into a file of its own, as lines to put there. Until then Chatwoot has what is set there now.",
    });
  }
  return findings;
}

/** @param remake The command by which a person does it. */
export function toMakeAgain(trouble: string, remake: string | undefined): Finding {
  return {
    kind: "containers-to-make-again",
    level: "note",
    message: `containers have the environment that they were made with: they have to be made again once it is merged, and Chatkeep cannot do that here: ${trouble}`,
    hint: `The restore stops there and says how${remake === undefined ? "" : `: ${remake}`}. Then 'chatkeep restore --resume'.`,
  };
}

/** For people: what becomes of the variables. Values are never told. */
export function environmentLines({ lines, edits }: EnvironmentPlan): string[] {
  const said: string[] = [];
  const changed = lines.filter(({ action }) => action === "set" || action === "add");
  for (const { name, why } of changed.filter((line) => line.class === "must-match")) {
    said.push(`${name} becomes the point's: ${why}`);
  }
  const others = changed.filter((line) => line.class !== "must-match").map(({ name }) => name);
  if (others.length > 0)
    said.push(`${plural(others.length, "other variable")} become the point's: ${others.join(", ")}`);
  const kept = lines.filter((line) => line.action === "keep" && line.isSaved).map(({ name }) => name);
  if (kept.length > 0) said.push(`this place's own stay: ${kept.join(", ")}`);
  const inDatabase = changed.filter((line) => line.isInDatabase).map(({ name }) => name);
  if (inDatabase.length > 0) {
    said.push(`of these Chatwoot reads from its database, once they are there: ${inDatabase.join(", ")}`);
  }
  for (const { file, before } of edits) {
    said.push(`${file.path} is ${before === undefined ? "made" : "changed, and kept as it is now"}`);
  }
  return said;
}
