/** While a restore is unfinished nothing of Chatwoot starts by itself: what would is switched off, recorded, and switched on again. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Failure, isFailure, messageOf } from "../../base/errors.ts";
import { describeStep } from "../../installation/processes.ts";
import { howToSwitchOn, type StartRule, startRuleOf, switchOff, switchOn } from "../../installation/start-rules.ts";
import { replaceFile } from "../../system/replace-file.ts";
import { CALLED, type ProcessName } from "./ran-before.ts";
import type { UndoContext } from "./stage.ts";

interface Entry {
  /** As {@link describeStep} has it. */
  readonly what: string;
  readonly name: ProcessName;
  /** Absent where it could not be switched off. */
  readonly rule?: StartRule;
}

const FILE = "kept-stopped.json";
const BOTH: readonly ProcessName[] = ["worker", "web"];

async function readEntries(folder: string): Promise<Entry[] | undefined> {
  const path = join(folder, FILE);
  try {
    return JSON.parse(await readFile(path, "utf8")) as Entry[];
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
    throw new Failure("restore/record", `cannot read ${path}: ${messageOf(cause)}`, {
      hint: "It says what started Chatwoot by itself before. Without it set that yourself, then remove it.",
      cause,
    });
  }
}

async function writeEntry(folder: string, entry: Entry): Promise<void> {
  const others = ((await readEntries(folder)) ?? []).filter(({ what }) => what !== entry.what);
  const path = join(folder, FILE);
  try {
    await replaceFile(path, `${JSON.stringify([...others, entry], null, 2)}\n`, 0o600);
  } catch (cause) {
    throw new Failure("restore/record", `cannot write ${path}: ${messageOf(cause)}`, {
      hint: "Is there room on that disk, and may Chatkeep write there?",
      cause,
    });
  }
}

/**
 * Switches off what would start them. Called again it does so for what was made anew since, as a container is with the policy of
 * its Compose file. What cannot be switched off is recorded as such, and told by {@link mayStart}.
 * @throws Failure `restore/record` when it cannot be recorded: then it was not switched off either.
 */
export async function keepStopped(
  { place, folder, signal }: UndoContext,
  names: readonly ProcessName[] = BOTH,
): Promise<void> {
  for (const name of names) {
    for (const step of place.installation.processes[name]?.stop ?? []) {
      const what = describeStep(step);
      const rule = await startRuleOf(step, { signal });
      if (rule === "none") continue;
      if (rule === "unknown") {
        await writeEntry(folder, { what, name });
        continue;
      }
      await writeEntry(folder, { what, name, rule });
      try {
        await switchOff(rule, { signal });
      } catch (error) {
        signal.throwIfAborted();
        if (!isFailure(error)) throw error;
        await writeEntry(folder, { what, name });
      }
    }
  }
}

/** Lets them start by themselves as before. @throws Failure where that cannot be done: they are not started then. */
export async function letStart(
  { folder, signal }: Pick<UndoContext, "folder" | "signal">,
  name: ProcessName,
): Promise<void> {
  for (const entry of (await readEntries(folder)) ?? []) {
    if (entry.name === name && entry.rule !== undefined) await switchOn(entry.rule, { signal });
  }
}

/** A sentence about those that may start by themselves although they must not; undefined where none may. */
export async function mayStart(folder: string, names: readonly ProcessName[] = BOTH): Promise<string | undefined> {
  const entries = (await readEntries(folder)) ?? [];
  const open = names.filter((name) => entries.some((one) => one.name === name && one.rule === undefined));
  if (open.length === 0) return undefined;
  const who = open.map((name) => CALLED[name]).join(" and ");
  return `Until it goes on, start nothing of Chatwoot and restart neither this machine nor Docker: nothing here keeps ${who} from starting then`;
}

/** How a person lets a process start by itself again that stays switched off; none where nothing was switched off. */
export async function howToLetStart(folder: string, name: ProcessName): Promise<string[]> {
  const entries = (await readEntries(folder)) ?? [];
  return entries.flatMap((entry) =>
    entry.name === name && entry.rule !== undefined ? [howToSwitchOn(entry.rule)] : [],
  );
}
