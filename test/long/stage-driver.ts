/**
 * Runs one stage of a restore, as `node stage-driver.ts JSON`, for tests whose servers are in another network than their own. What
 * the stage keeps lies in the folder, so that the next call goes on with it.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { findInstallation } from "../../src/installation/find.ts";
import { ALL_STAGES } from "../../src/job/stages/all.ts";
import { seeNobody } from "../../src/job/stages/nobody.ts";
import {
  behind,
  NOTHING_DONE,
  type StageContext,
  type StageName,
  type StageOptions,
  type StageResult,
} from "../../src/job/stages/stage.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";

export interface DriverCall {
  /** `nobody`: only looks whether somebody is connected. */
  stage: StageName | "nobody";
  /** Of Compose. */
  project: string;
  act: "apply" | "undo";
  folder: string;
  address: ServerAddress;
  options?: Partial<StageOptions>;
  version?: string;
  patienceMs?: number;
}

export type DriverAnswer = { result: StageResult } | { failure: { code: string; message: string; hint: string } };

async function contextOf({
  folder,
  address,
  options = {},
  version = "4.15.1",
  project,
}: DriverCall): Promise<StageContext> {
  const { signal } = new AbortController();
  const look = async () => (await findInstallation({ project }, { signal, env: process.env })).installation;
  return {
    place: { installation: await look(), address, look },
    folder,
    fresh: undefined,
    redact: <T>(value: T) => value,
    clock: systemClock,
    // Whoever waits for it sees how far it is.
    progress: { ...silent, say: (text: string) => console.error(text) },
    signal,
    manifest: { storage: [], chatwoot: { version } },
    options: { withRoles: false, storage: undefined, migrate: false, outbound: "ask", clone: undefined, ...options },
    // What is asked of the repository is asked by other stages.
  } as unknown as StageContext;
}

async function drive(call: DriverCall): Promise<StageResult> {
  const context = await contextOf(call);
  if (call.stage === "nobody") {
    await seeNobody(context, call);
    return { lines: [], findings: [] };
  }
  const file = join(call.folder, `${call.stage}.json`);
  let text: string | undefined = await readFile(file, "utf8").catch(() => undefined);
  const record = {
    get kept(): unknown {
      return text === undefined ? undefined : JSON.parse(text);
    },
    async keep(value: unknown) {
      text = JSON.stringify(value);
      await writeFile(file, text);
    },
  };
  const stage = ALL_STAGES.find(({ name }) => name === call.stage);
  if (stage === undefined) throw new Error(`no stage '${call.stage}'`);
  // As the runner does it: what must be so before is seen to first.
  if (call.act === "apply") {
    const seen = (await stage.before?.(context, { isFirst: true })) ?? NOTHING_DONE;
    return behind(seen, await stage.apply(context, record));
  }
  const seen = (await stage.beforeUndo?.(context)) ?? NOTHING_DONE;
  return behind(seen, await stage.undo(context, record));
}

async function main(): Promise<DriverAnswer> {
  try {
    return { result: await drive(JSON.parse(process.argv[2] ?? "{}") as DriverCall) };
  } catch (error) {
    if (!isFailure(error)) throw error;
    return { failure: { code: error.code, message: error.message, hint: error.hint ?? "" } };
  }
}

console.log(JSON.stringify(await main()));
