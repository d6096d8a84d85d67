/**
 * What starts a process without anybody: the restart policy of a container, and systemd for a unit. Both are switched off while a
 * restore is unfinished, so that a machine that is restarted starts nothing on data that is half there.
 */
import { rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Failure, messageOf } from "../base/errors.ts";
import type { ContainerDetails, RestartPolicy } from "../system/container-details.ts";
import { EngineApi, type EngineAddress } from "../system/engine-api.ts";
import { makeFolders } from "../system/folders.ts";
import { runProgram } from "../system/process.ts";
import { replaceFile } from "../system/replace-file.ts";
import type { Step } from "./processes.ts";
import { HOLDING_DROP_IN } from "./units.ts";

/** What has to be switched off, and how it was. Plain JSON. */
export type StartRule =
  | {
      readonly how: "container";
      readonly engine: EngineAddress;
      readonly container: string;
      readonly policy: RestartPolicy;
    }
  /** A file of ours beside the unit: while it is there systemd does not start it. */
  | { readonly how: "unit"; readonly unit: string; readonly file: string };

interface Asked {
  signal: AbortSignal;
}

const NEVER: RestartPolicy = { Name: "no" };

async function policyOf(engine: EngineApi, container: string): Promise<RestartPolicy | undefined> {
  const path = `/containers/${encodeURIComponent(container)}/json`;
  const found = await engine.ask<Pick<ContainerDetails, "HostConfig">>(path);
  const { Name = "", MaximumRetryCount } = found?.HostConfig?.RestartPolicy ?? {};
  if (Name === "" || Name === "no") return undefined;
  return { Name, ...(MaximumRetryCount === undefined ? {} : { MaximumRetryCount }) };
}

/**
 * What would start it by itself: `none` where nothing does, `unknown` where only a person's own command is known.
 * @throws Failure `program/failed` when an engine does not answer.
 */
export async function startRuleOf(step: Step, { signal }: Asked): Promise<StartRule | "none" | "unknown"> {
  if (step.how === "container") {
    const { engine, container } = step;
    const policy = await policyOf(new EngineApi(engine, { signal }), container);
    return policy === undefined ? "none" : { how: "container", engine, container, policy };
  }
  if (step.how === "unit" && step.folder !== undefined) {
    return { how: "unit", unit: step.unit, file: join(step.folder, `${step.unit}.d`, HOLDING_DROP_IN) };
  }
  // One that is scaled to none stays so over every restart.
  return step.how === "service" || step.how === "scale" ? "none" : "unknown";
}

async function setPolicy(
  { engine, container }: Extract<StartRule, { how: "container" }>,
  to: RestartPolicy,
  asked: Asked,
) {
  const path = `/containers/${encodeURIComponent(container)}/update`;
  await new EngineApi(engine, asked).tell("POST", path, { RestartPolicy: to });
}

/** A condition that is not met is no error for systemd: whatever wants the unit goes on without it. */
function dropIn(file: string): string {
  return `# Written by Chatkeep: a restore is unfinished, and this unit must not run before it is through.
# 'chatkeep restore --resume' or 'chatkeep rollback' removes this file. Without it the unit starts as before.
[Unit]
ConditionPathExists=!${file}
`;
}

/** Switches it off; called again, it stays off. @throws Failure `program/failed`, or `restore/record` for a file. */
export async function switchOff(rule: StartRule, { signal }: Asked): Promise<void> {
  if (rule.how === "container") return await setPolicy(rule, NEVER, { signal });
  try {
    await makeFolders(dirname(rule.file));
    await replaceFile(rule.file, dropIn(rule.file), 0o644);
  } catch (cause) {
    throw new Failure("restore/record", `cannot write ${rule.file}: ${messageOf(cause)}`, { cause });
  }
  await runProgram("systemctl", ["daemon-reload"], { signal });
}

/** Switches it on again, as it was; called again, it stays so. What is gone, or was set anew since, is left alone. */
export async function switchOn(rule: StartRule, { signal }: Asked): Promise<void> {
  if (rule.how === "container") {
    const engine = new EngineApi(rule.engine, { signal });
    const isThere = (await engine.ask(`/containers/${encodeURIComponent(rule.container)}/json`)) !== undefined;
    if (isThere && (await policyOf(engine, rule.container)) === undefined)
      await setPolicy(rule, rule.policy, { signal });
    return;
  }
  try {
    await rm(rule.file, { force: true });
  } catch (cause) {
    throw new Failure("restore/record", `cannot remove ${rule.file}: ${messageOf(cause)}`, {
      hint: "While it is there the unit does not start. Remove it by hand.",
      cause,
    });
  }
  // Other files of somebody else may lie there.
  await rmdir(dirname(rule.file)).catch(() => {});
  await runProgram("systemctl", ["daemon-reload"], { signal });
}

/** The command by which a person switches it on again. */
export function howToSwitchOn(rule: StartRule): string {
  if (rule.how === "unit") return `rm ${rule.file} && systemctl daemon-reload`;
  const { Name, MaximumRetryCount = 0 } = rule.policy;
  return `docker update --restart=${Name}${Name === "on-failure" && MaximumRetryCount > 0 ? `:${MaximumRetryCount}` : ""} ${rule.container}`;
}
