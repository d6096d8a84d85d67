/** Cron expressions: five fields as crontab(5) has them, or `@daily` and its like. */
import { Cron, CronPattern } from "croner";
import { dateOf } from "../base/clock.ts";
import { Failure, messageOf } from "../base/errors.ts";

export interface CronTimes {
  /** As it was given, its blanks made one. */
  readonly text: string;
  /** IANA. */
  readonly timeZone: string;
  readonly minutes: readonly number[];
  readonly hours: readonly number[];
  /** Of the month, from 1; undefined for any. */
  readonly days: readonly number[] | undefined;
  /** From 1; undefined for any. */
  readonly months: readonly number[] | undefined;
  /** 0 is Sunday; undefined for any. */
  readonly weekdays: readonly number[] | undefined;
}

const NICKNAMES: Readonly<Record<string, string>> = {
  "@hourly": "0 * * * *",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@weekly": "0 0 * * 0",
  "@monthly": "0 0 1 * *",
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
};

/** Numbers, ranges, lists and steps; months and days by their names. */
const PLAIN = /^(?:[\d*/,-]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat)+$/i;

const HINT = "Write minute, hour, day of the month, month and day of the week, as in 30 2 * * *, or @daily.";

/** @throws Failure `config/invalid` for what is none, or means different things to different programs. */
export function parseCron(given: string, timeZone: string): CronTimes {
  const text = given.trim().replaceAll(/\s+/g, " ");
  const refuse = (why: string, hint = HINT, cause?: unknown) =>
    new Failure("config/invalid", `schedule.backup '${text}' ${why}`, { hint, cause });
  const fields = (NICKNAMES[text.toLowerCase()] ?? text).split(" ");
  const [minute = "", hour = "", day = "", month = "", weekday = ""] = fields;
  // croner knows more (seconds, L, W, #, ?), which neither cron nor systemd would run.
  if (fields.length !== 5 || !fields.every((field) => PLAIN.test(field))) {
    throw refuse("is no time that every cron understands");
  }
  const isAnyDay = day === "*";
  const isAnyWeekday = weekday === "*";
  if (!isAnyDay && !isAnyWeekday && (day.startsWith("*") || weekday.startsWith("*"))) {
    throw refuse(
      "means both days together to one cron and either of them to another",
      "Write the days as a list or a range, or one of the two as *.",
    );
  }
  try {
    const pattern = new CronPattern([minute, hour, day, month, weekday].join(" "), timeZone, { mode: "5-part" });
    const times = {
      text,
      timeZone,
      minutes: marked(pattern.minute, 0),
      hours: marked(pattern.hour, 0),
      days: isAnyDay ? undefined : marked(pattern.day, 1),
      months: month === "*" ? undefined : marked(pattern.month, 1),
      weekdays: isAnyWeekday ? undefined : marked(pattern.dayOfWeek.slice(0, 7), 0),
    };
    if (cronOf(times).nextRun() === null) throw new Error("it never comes");
    return times;
  } catch (error) {
    throw refuse(`is no time: ${messageOf(error).replace(/^CronPattern: /, "")}`, HINT, error);
  }
}

/** Which places of the table are set. */
function marked(table: readonly number[], first: number): number[] {
  return table.flatMap((mark, index) => (mark > 0 ? [index + first] : []));
}

function cronOf({ text, timeZone }: Pick<CronTimes, "text" | "timeZone">): Cron {
  return new Cron(NICKNAMES[text.toLowerCase()] ?? text, { paused: true, timezone: timeZone, mode: "5-part" });
}

/** The first time after that instant; milliseconds since 1970, as all here. */
export function nextTime(times: CronTimes, afterMs: number): number {
  return cronOf(times).nextRun(dateOf(afterMs))?.getTime() ?? Number.POSITIVE_INFINITY;
}

/** The last time before that instant. */
export function previousTime(times: CronTimes, beforeMs: number): number | undefined {
  return cronOf(times).previousRuns(1, dateOf(beforeMs)).at(0)?.getTime();
}
