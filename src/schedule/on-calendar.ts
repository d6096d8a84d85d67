/** Cron's times as systemd.time(7) writes them. */
import type { CronTimes } from "./cron.ts";

const WEEKDAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"] as const;
const ANY_DAY = "*";

/**
 * The values of `OnCalendar=`: one, or two where a day of the month or a day of the week will do, for systemd wants both of
 * what stands in one.
 */
export function toOnCalendar(times: CronTimes): string[] {
  const { minutes, hours, days, weekdays, timeZone } = times;
  const time = `${list(hours, 24)}:${list(minutes, 60)}:00 ${timeZone}`;
  const month = times.months === undefined ? "*" : list(times.months, Number.POSITIVE_INFINITY);
  const date = (day: string) => `*-${month}-${day}`;
  const both: string[] = [];
  if (weekdays !== undefined) {
    both.push(`${weekdays.map((day) => WEEKDAYS[day]).join(",")} ${date(ANY_DAY)} ${time}`);
  }
  if (days !== undefined) both.push(`${date(list(days, Number.POSITIVE_INFINITY))} ${time}`);
  return both.length > 0 ? both : [`${date(ANY_DAY)} ${time}`];
}

function list(values: readonly number[], all: number): string {
  if (values.length === all) return "*";
  return values.map((value) => String(value).padStart(2, "0")).join(",");
}
