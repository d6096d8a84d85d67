/** What each kind of webhook is sent, by the documentation of its service. */
import type { HookChannel, Notice, NtfyChannel, Outcome, TelegramChannel } from "./notice.ts";
import type { HttpCall } from "./request.ts";

/** Characters of a message that the service takes, with room for what we put around it. */
const LONGEST = { slack: 30_000, discord: 1_900, telegram: 4_000, ntfy: 3_900 } as const;

const NTFY: Readonly<Record<Outcome, { priority: string; tag: string }>> = {
  failure: { priority: "high", tag: "rotating_light" },
  finding: { priority: "default", tag: "warning" },
  success: { priority: "low", tag: "white_check_mark" },
};

const JSON_TYPE = { "Content-Type": "application/json; charset=utf-8" };

/** Ends at a character, and says that something is missing. */
function clip(text: string, longest: number): string {
  if (text.length <= longest) return text;
  return `${text.slice(0, longest - 2).replace(/[\uD800-\uDBFF]$/, "")} …`;
}

/** A fence inside would end the block early. */
function fenced(text: string): string {
  return `\`\`\`\n${text.replaceAll("```", "'''")}\n\`\`\``;
}

export function webhookCall(channel: HookChannel | TelegramChannel | NtfyChannel, notice: Notice): HttpCall {
  if (channel.kind === "telegram") return telegramCall(channel, notice);
  if (channel.kind === "ntfy") return ntfyCall(channel, notice);
  if (channel.kind === "slack") return slackCall(channel.url, notice);
  return channel.kind === "discord" ? discordCall(channel.url, notice) : genericCall(channel.url, notice);
}

function genericCall(url: URL, { title, text, outcome, facts }: Notice): HttpCall {
  return post(url, { type: "notice", outcome, title, text, ...facts });
}

/** `&`, `<` and `>` are Slack's own. */
function slackCall(url: URL, { title, text }: Notice): HttpCall {
  const escaped = clip(text, LONGEST.slack).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return post(url, { text: `*${title}*\n${fenced(escaped)}` });
}

/** A message of ours calls nobody by name, whatever stands in it. */
function discordCall(url: URL, { title, text }: Notice): HttpCall {
  const content = `**${title}**\n${fenced(clip(text, LONGEST.discord - title.length))}`;
  return post(url, { content, allowed_mentions: { parse: [] } });
}

function telegramCall({ server, token, chat }: TelegramChannel, { title, text }: Notice): HttpCall {
  const url = new URL(server);
  url.pathname = `${url.pathname.replace(/\/$/, "")}/bot${token}/sendMessage`;
  return post(url, {
    chat_id: chat,
    text: clip(`${title}\n\n${text}`, LONGEST.telegram),
    link_preview_options: { is_disabled: true },
  });
}

function ntfyCall({ url, token }: NtfyChannel, { title, text, outcome }: Notice): HttpCall {
  const { priority, tag } = NTFY[outcome];
  const headers = { "Content-Type": "text/plain; charset=utf-8", Title: title, Priority: priority, Tags: tag };
  const own = token === undefined ? headers : { ...headers, Authorization: `Bearer ${token}` };
  return { method: "POST", url, body: clip(text, LONGEST.ntfy), headers: own };
}

function post(url: URL, body: object): HttpCall {
  return { method: "POST", url, headers: JSON_TYPE, body: JSON.stringify(body) };
}
