/** What a stage is called with in tests: a real restore point, a place, a folder, and a record in memory. */
import { systemClock } from "../../../src/base/clock.ts";
import { silent } from "../../../src/base/progress.ts";
import type { Installation } from "../../../src/installation/installation.ts";
import type { PointReader } from "../../../src/job/point-reader.ts";
import type { StageContext, StageOptions, StageRecord } from "../../../src/job/stages/stage.ts";
import type { ServerAddress } from "../../../src/postgres/address.ts";
import { parseEnvironment } from "../../../src/point/environment.ts";

const signal = new AbortController().signal;

export const PLAIN_OPTIONS: StageOptions = {
  withRoles: false,
  storage: undefined,
  migrate: false,
  outbound: "hold",
  clone: undefined,
};

/** A database that nobody asks. */
const NOWHERE: ServerAddress = { host: "127.0.0.1", port: 1, user: "nobody", database: "none" };

export async function contextFor(
  reader: PointReader,
  installation: Installation,
  {
    folder,
    options = {},
    hasEnvironment = true,
    address = NOWHERE,
  }: { folder: string; options?: Partial<StageOptions>; hasEnvironment?: boolean; address?: ServerAddress },
): Promise<StageContext> {
  const text = hasEnvironment ? await reader.readText("config/chatkeep/environment.json") : undefined;
  return {
    reader,
    manifest: await reader.manifest(),
    saved: text === undefined ? undefined : parseEnvironment(text),
    options: { ...PLAIN_OPTIONS, ...options },
    place: { installation, address },
    folder,
    fresh: undefined,
    redact: (value) => value,
    clock: systemClock,
    progress: silent,
    signal,
  };
}

export interface MemoryRecord<T> extends StageRecord<T> {
  kept: T | undefined;
  /** Called whenever something was kept: throws where the run is to be killed. */
  onKeep: () => void;
}

export function memoryRecord<T>(kept?: T): MemoryRecord<T> {
  const record: MemoryRecord<T> = {
    kept,
    onKeep: () => {},
    async keep(value) {
      // As on the disk: what is handed back is plain JSON.
      record.kept = JSON.parse(JSON.stringify(value)) as T;
      record.onKeep();
    },
  };
  return record;
}
