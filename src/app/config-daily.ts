/** The schema of what the configuration says about the daily run: when, what is told to whom, what runs before and after. */
import { z } from "zod";
import { isFailure } from "../base/errors.ts";
import { OUTCOMES } from "../notify/notice.ts";
import { Zone } from "../policy/calendar.ts";

const text = z.string().min(1);
const duration = z.string().regex(/^[1-9]\d{0,4}[mhd]$/, "write it as 30m, 26h or 8d");
const UNITS = { m: 60_000, h: 3_600_000, d: 24 * 3_600_000 } as const;

/** Milliseconds of `30m`, `26h` or `8d`. */
export function durationMs(given: string): number {
  return Number.parseInt(given, 10) * UNITS[given.at(-1) as keyof typeof UNITS];
}

/** Words for how often, in milliseconds. */
const OFTEN = { daily: 24 * 3_600_000, weekly: 7 * 24 * 3_600_000, monthly: 30 * 24 * 3_600_000 } as const;

export const often = z
  .string()
  .regex(
    /^(daily|weekly|monthly|never|[1-9]\d{0,3}d)$/,
    "write daily, weekly, monthly, a number of days as 10d, or never",
  );

/** Milliseconds; undefined for `never`. */
export function oftenMs(given: string): number | undefined {
  if (given === "never") return undefined;
  return given in OFTEN ? OFTEN[given as keyof typeof OFTEN] : durationMs(given);
}

const zoneText = text.superRefine((given, context) => {
  try {
    void new Zone(given);
  } catch (error) {
    if (!isFailure(error)) throw error;
    context.addIssue({ code: "custom", message: error.message });
  }
});

export const scheduleSchema = z.strictObject({
  /** Of the daily run, as cron has it: five fields. */
  backup: text.optional(),
  drill: often.optional(),
  /** Of a moment by chance, where the log is followed; by default as often as the drill of a point. */
  moment: often.optional(),
  prune: often.optional(),
  scrub: often.optional(),
  doctor: often.optional(),
  /** IANA. */
  timezone: zoneText.optional(),
});

export const objectivesSchema = z.strictObject({
  /** A restore point is never older. */
  rpo: duration.optional(),
  /** A restore takes no longer. */
  rto: duration.optional(),
  /** A proof is never older. */
  drill: duration.optional(),
});

const outcome = z.enum([...OUTCOMES, "always"]);
const told = {
  name: text.optional(),
  on: z
    .union([outcome, z.array(outcome).min(1)], "write failure, finding, success or always, or a list of them")
    .optional(),
};
const secretUrl = { url: text.optional(), "url-file": text.optional(), "url-command": text.optional() };
const secretToken = { token: text.optional(), "token-file": text.optional(), "token-command": text.optional() };

const mailSchema = z.strictObject({
  ...told,
  kind: z.literal("email"),
  to: z.union([text, z.array(text).min(1)], "write an address, or a list of them"),
  from: text.optional(),
  server: text,
  port: z.int().min(1).max(65_535).optional(),
  security: z.enum(["tls", "starttls", "none"]).optional(),
  user: text.optional(),
  password: text.optional(),
  "password-file": text.optional(),
  "password-command": text.optional(),
  /** PEM: an authority that is believed beside the system's. */
  "ca-file": text.optional(),
});

const channelSchema = z.discriminatedUnion(
  "kind",
  [
    mailSchema,
    z.strictObject({ ...told, ...secretUrl, kind: z.literal("generic") }),
    z.strictObject({ ...told, ...secretUrl, kind: z.literal("slack") }),
    z.strictObject({ ...told, ...secretUrl, kind: z.literal("discord") }),
    z.strictObject({ ...told, ...secretUrl, ...secretToken, kind: z.literal("ntfy") }),
    z.strictObject({ ...told, ...secretToken, kind: z.literal("telegram"), chat: text, server: text.optional() }),
  ],
  "kind is one of email, generic, slack, discord, telegram, ntfy",
);

export const notifySchema = z.array(channelSchema);

const pingsSchema = z.strictObject({
  ...secretUrl,
  start: text.optional(),
  success: text.optional(),
  failure: text.optional(),
});

export const pingSchema = z.union(
  [text, pingsSchema],
  "write a URL, or { url-file: FILE }, or { start, success, failure }",
);

const hookSchema = z.union(
  [text, z.strictObject({ command: text, "time-limit": duration.optional(), ignore: z.boolean().optional() })],
  "write a command, or { command: …, time-limit: 10m, ignore: true }",
);

export const hooksSchema = z.strictObject({ before: hookSchema.optional(), after: hookSchema.optional() });

export type ChannelConfig = z.infer<typeof channelSchema>;
export type PingConfig = z.infer<typeof pingSchema>;
export type HookConfig = z.infer<typeof hookSchema>;
