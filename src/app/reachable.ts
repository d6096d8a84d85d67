/** Of a configuration that is not valid as a whole: whom to tell, as far as that can be read. */
import { resolve } from "node:path";
import { parseDocument } from "yaml";
import { z } from "zod";
import { type Config, DEFAULT_PLACES, readConfig, substitute } from "./config.ts";
import { notifySchema, pingSchema } from "./config-daily.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface Reachable {
  /** Of the configuration. */
  path: string;
  /** `state-dir`, as it is written. */
  stateFolder: string | undefined;
  /** The installation's name; empty where it cannot be told. */
  name: string;
  notify: Config["notify"];
  ping: Config["ping"];
}

/** Undefined where there is no file, or nothing of it can be read. */
export async function findReachable(globals: Globals, s: Surroundings): Promise<Reachable | undefined> {
  const named = globals.config ?? s.env["CHATKEEP_CONFIG"] ?? "";
  for (const place of named === "" ? DEFAULT_PLACES : [named]) {
    const path = resolve(s.cwd, place);
    const text = await readConfig(path).catch(() => undefined);
    if (text !== undefined) return readReachable(path, text, s);
  }
  return undefined;
}

function readReachable(path: string, text: string, s: Surroundings): Reachable | undefined {
  const document = parseDocument(text, { prettyErrors: false, logLevel: "silent" });
  if (document.errors.length > 0) return undefined;
  const parts = z.record(z.string(), z.unknown()).safeParse(substitute(document, s.env, [])).data ?? {};
  const installation = z.looseObject({ name: z.string().max(63) }).safeParse(parts["installation"]).data;
  return {
    path,
    stateFolder: z.string().min(1).safeParse(parts["state-dir"]).data,
    name: installation?.name ?? "",
    notify: notifySchema.safeParse(parts["notify"]).data,
    ping: pingSchema.safeParse(parts["ping"]).data,
  };
}
