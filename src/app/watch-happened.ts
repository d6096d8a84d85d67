/** What happened to a watch is known for a day, also to the one that is started after it. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { formatInstant, parseZonedInstant } from "../base/clock.ts";
import type { Finding } from "../base/findings.ts";
import type { WatchBook } from "../job/watch-book.ts";
import { replaceFile } from "../system/replace-file.ts";
import type { StateFolder } from "./state-folder.ts";

type Happened = WatchBook["happenings"][number];

function happenedFile({ path }: Pick<StateFolder, "path">): string {
  return join(path, "watch-happened.json");
}

/** Empty where nothing is there, or nothing that can be read. */
export async function readHappened(state: Pick<StateFolder, "path">): Promise<Happened[]> {
  try {
    const value = JSON.parse(await readFile(happenedFile(state), "utf8")) as { schema?: unknown; happened?: unknown };
    if (value.schema !== 1 || !Array.isArray(value.happened)) return [];
    return (value.happened as { key: unknown; until: unknown; findings: unknown }[]).flatMap((one) => {
      const untilMs = typeof one.until === "string" ? parseZonedInstant(one.until) : undefined;
      if (typeof one.key !== "string" || untilMs === undefined || !Array.isArray(one.findings)) return [];
      return [{ key: one.key, untilMs, findings: one.findings.filter(isFinding) }];
    });
  } catch {
    return [];
  }
}

function isFinding(value: unknown): value is Finding {
  const { kind, level, message, hint } = (value ?? {}) as Partial<Record<keyof Finding, unknown>>;
  const isLevel = level === "alarm" || level === "warning" || level === "note";
  return isLevel && [kind, message, hint].every((text) => typeof text === "string");
}

/** Writes it down where it is not what was written before. */
export class HappenedWriter {
  readonly #state: Pick<StateFolder, "path">;
  #written: string | undefined;

  constructor(state: Pick<StateFolder, "path">) {
    this.#state = state;
  }

  /** A disk that is full keeps nobody from protecting what can be: it is tried again. */
  async write(all: readonly Happened[]): Promise<void> {
    const happened = all.map(({ untilMs, ...one }) => ({ ...one, until: formatInstant(untilMs) }));
    const text = `${JSON.stringify({ schema: 1, happened }, null, 1)}\n`;
    if (text === this.#written || (this.#written === undefined && all.length === 0)) return;
    await replaceFile(happenedFile(this.#state), text, 0o600).then(
      () => (this.#written = text),
      () => {},
    );
  }
}
