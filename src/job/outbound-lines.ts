/** What a worker would do by itself, in words. */
import { formatCount, formatSpan, plural } from "../base/bytes.ts";
import type { OutboundItem, OutboundName } from "./outbound-kinds.ts";

/** Of one kind; the file has all. */
const SHOWN = 12;
/** Of a name that somebody gave. */
const NAME_LENGTH = 60;

const ORDER: readonly OutboundName[] = [
  "campaign",
  "scheduled-message",
  "delayed-automation",
  "auto-resolve",
  "snoozed",
  "account-deletion",
];

/** A line for each, the first few of each kind, what customers hear first. @param file Where all are. */
export function outboundLines(items: readonly OutboundItem[], file: string): string[] {
  return ORDER.flatMap((kind) => {
    const all = items.filter((item) => item.kind === kind);
    const shown = all.slice(0, SHOWN).map(lineOf);
    return all.length > SHOWN ? [...shown, `… and ${formatCount(all.length - SHOWN)} more of these: ${file}`] : shown;
  });
}

/** `2 campaigns, 14 conversations to be closed` */
export function outboundTotals(items: readonly OutboundItem[]): string {
  const total = (kind: OutboundName) =>
    items.filter((item) => item.kind === kind).reduce((sum, { count }) => sum + count, 0);
  const parts = [
    [total("campaign"), "campaign to be sent", "campaigns to be sent"],
    [total("scheduled-message"), "scheduled message", "scheduled messages"],
    [total("delayed-automation"), "delayed automation", "delayed automations"],
    [total("auto-resolve"), "conversation to be closed", "conversations to be closed"],
    [total("snoozed"), "snoozed conversation", "snoozed conversations"],
    [total("account-deletion"), "account to be deleted", "accounts to be deleted"],
  ] as const;
  return parts
    .filter(([count]) => count > 0)
    .map(([count, one, many]) => plural(count, one, many))
    .join(", ");
}

function lineOf(item: OutboundItem): string {
  return LINES[item.kind](item, `account ${quoted(item.account)} (${item.accountId})`, whenOf(item));
}

function whenOf({ at }: OutboundItem): string {
  return (at ?? "").replace(/^(\d{4}-\d\d-\d\d)T(\d\d:\d\d).*$/, "$1 $2 UTC");
}

const LINES: Record<OutboundName, (item: OutboundItem, account: string, when: string) => string> = {
  campaign({ title, inbox, isDue }, account, when) {
    const where = `campaign ${quoted(title ?? "")} of inbox ${quoted(inbox ?? "")}, ${account}`;
    return isDue
      ? `${where}: was due ${when}, and would be sent within five minutes, to some for the second time`
      : `${where}: would be sent ${when}`;
  },
  "scheduled-message": ({ count, isDue }, account, when) =>
    `${plural(count, "scheduled message")} of ${account}: the first ${isDue ? "was due" : "is due"} ${when}`,
  "delayed-automation": ({ count, isDue }, account, when) =>
    `${plural(count, "delayed automation")} of ${account}: the first ${isDue ? "was due" : "is due"} ${when}`,
  "auto-resolve"({ count, told, title }, account) {
    const heard = told === 0 ? "no customer is told" : `${plural(told, "customer")} would hear of it`;
    return `${plural(count, "conversation")} of ${account} would be closed, for nobody wrote for ${formatSpan(Number(title))}; ${heard}`;
  },
  snoozed: ({ count, isDue }, account) =>
    isDue
      ? `${plural(count, "snoozed conversation")} of ${account} would be opened again`
      : `${plural(count, "snoozed conversation")} of ${account} should have been opened more than three days ago, and would stay asleep`,
  "account-deletion": ({ isDue }, account, when) =>
    `${account} is marked to be deleted ${isDue ? "since" : "on"} ${when}, and would be, with all that it has`,
};

function quoted(name: string): string {
  const whole = name.replaceAll(/\s+/g, " ").trim();
  return `'${whole.length > NAME_LENGTH ? `${whole.slice(0, NAME_LENGTH - 1)}…` : whole}'`;
}

/** What was made to rest, and what a person may want to do about it. */
export function restedLines(items: readonly OutboundItem[]): { lines: string[]; next: string[] } {
  const has = (kind: OutboundName, test: (item: OutboundItem) => boolean = () => true) =>
    items.filter((item) => item.kind === kind && test(item));
  const rows: [items: OutboundItem[], line: string, next: string | undefined][] = [
    [
      has("campaign"),
      "campaigns are marked as completed",
      has("campaign", ({ isDue }) => !isDue).length === 0
        ? undefined
        : `make campaigns that are still wanted anew: ${names(has("campaign", ({ isDue }) => !isDue).map(({ title }) => title ?? ""))}`,
    ],
    [
      has("scheduled-message"),
      "scheduled messages are put off by 100 years",
      "look at the scheduled messages, and give those that are still wanted a time again",
    ],
    [has("delayed-automation"), "delayed automations are put off by 100 years", undefined],
    [
      has("auto-resolve"),
      "conversations are not closed by themselves any more",
      `when you have looked at old conversations, set auto-resolve again: ${names(has("auto-resolve").map(({ account, title }) => `${account} had ${formatSpan(Number(title))}`))}`,
    ],
    [has("snoozed"), "snoozed conversations are open, without a word to anybody", undefined],
    [
      has("account-deletion"),
      "no account is marked to be deleted",
      `mark accounts for deletion again if they are to go: ${names(has("account-deletion").map(({ account }) => account))}`,
    ],
  ];
  const there = rows.filter(([of]) => of.length > 0);
  return { lines: there.map(([, line]) => line), next: there.flatMap(([, , next]) => next ?? []) };
}

function names(all: readonly string[]): string {
  return [...all.slice(0, SHOWN).map(quoted), ...(all.length > SHOWN ? ["…"] : [])].join(", ");
}
