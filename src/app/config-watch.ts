/** The schema of what the configuration says about continuous protection. */
import { z } from "zod";
import { Failure } from "../base/errors.ts";
import { often } from "./config-daily.ts";

const LESS = { s: 1, m: 60, h: 3_600 } as const;

/** A time within bounds, in seconds: `5s`, `10m`, `1h`. */
function within(units: string, { least, most, example }: { least: number; most: number; example: string }) {
  return z
    .string()
    .regex(new RegExp(`^[1-9]\\d{0,3}[${units}]$`, "v"), `write it as ${example}`)
    .refine((given) => seconds(given) >= least && seconds(given) <= most, `it is out of bounds: as ${example}`);
}

/** Seconds of `5s`, `10m` or `1h`. */
export function seconds(given: string): number {
  return Number.parseInt(given, 10) * LESS[given.at(-1) as keyof typeof LESS];
}

export const WATCH_MODES = ["auto", "stream", "interval"] as const;
export type WatchMode = (typeof WATCH_MODES)[number];

/** By `--flush-every` too. */
export const flushEvery = within("s", { least: 1, most: 60, example: "5s, from 1s to 60s" });
/** By `--interval` too. */
export const interval = within("mh", { least: 60, most: 3_600, example: "5m, from 1m to 1h" });

const TIMES = { "--flush-every": flushEvery, "--interval": interval } as const;

/** @throws Failure `usage/invalid` for a time that the configuration would not take either. */
export function checkWatchTime(flag: keyof typeof TIMES, given: string | undefined): void {
  if (given === undefined) return;
  const checked = TIMES[flag].safeParse(given);
  if (checked.success) return;
  const hint = checked.error.issues.map(({ message }) => message).join("; ");
  throw new Failure("usage/invalid", `${flag} cannot be '${given}'`, {
    hint: `${hint.charAt(0).toUpperCase()}${hint.slice(1)}.`,
  });
}

export function isWatchMode(text: string | undefined): text is WatchMode {
  return WATCH_MODES.some((mode) => mode === text);
}

export const watchSchema = z.strictObject({
  /** How: the log as it is written, or a restore point every few minutes. */
  mode: z.enum(WATCH_MODES).optional(),
  /** Of a role that may replicate, where Chatwoot's own may not. */
  "database-url": z.string().min(1).optional(),
  "database-url-file": z.string().min(1).optional(),
  /** What was committed is in the repositories after so long. */
  "flush-every": flushEvery.optional(),
  /** Between two restore points, where the log cannot be had. */
  interval: interval.optional(),
  /** Names of those that the log goes to; by default all. */
  repositories: z.array(z.string().min(1)).min(1).optional(),
  /** How often the whole cluster is copied anew. */
  base: often.optional(),
  /** It is read no faster: KiB a second. */
  "base-rate": z
    .int()
    .min(32)
    .max(2 ** 20)
    .optional(),
  /** MiB of the log that the server keeps for us at most; beyond, its disk counts more than our gap. */
  "max-retained": z
    .int()
    .min(64)
    .max(2 ** 24)
    .optional(),
});

export type WatchConfig = z.infer<typeof watchSchema>;
