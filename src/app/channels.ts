/** From `notify:` and `ping:` of the configuration to whom something is told, with the secrets that this takes. */
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { Failure, messageOf } from "../base/errors.ts";
import { type Channel, type MailChannel, type Outcome, OUTCOMES } from "../notify/notice.ts";
import type { Config } from "./config.ts";
import type { ChannelConfig, PingConfig } from "./config-daily.ts";
import { readSecretCommand, readSecretFile } from "./secrets.ts";
import type { Surroundings } from "./surroundings.ts";

const DEFAULT_ON: readonly Outcome[] = ["failure", "finding"];
const TELEGRAM = "https://api.telegram.org";

/** What `name:` says, or the kind, with a number where several have none. */
export function channelNames(configured: readonly ChannelConfig[]): string[] {
  const taken = new Set(configured.flatMap(({ name }) => name ?? []));
  return configured.map(({ name, kind }) => {
    if (name !== undefined) return name;
    let own: string = kind;
    for (let number = 2; taken.has(own); number += 1) own = `${kind}-${number}`;
    taken.add(own);
    return own;
  });
}

export interface BrokenChannel {
  name: string;
  kind: string;
  failure: Failure;
}

/** Every channel that can be used, and those whose secrets cannot be read or make no sense. */
export async function openChannels(
  { notify = [] }: Pick<Config, "notify">,
  s: Surroundings,
): Promise<{ channels: Channel[]; broken: BrokenChannel[] }> {
  const names = channelNames(notify);
  const channels: Channel[] = [];
  const broken: BrokenChannel[] = [];
  for (const [index, configured] of notify.entries()) {
    const name = names[index] ?? configured.kind;
    try {
      channels.push(await openChannel(configured, name, s));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      broken.push({ name, kind: configured.kind, failure: error });
    }
  }
  return { channels, broken };
}

export function outcomesOf({ on }: ChannelConfig): Set<Outcome> {
  const wanted: readonly string[] = on === undefined ? DEFAULT_ON : [on].flat();
  return new Set(wanted.includes("always") ? OUTCOMES : OUTCOMES.filter((outcome) => wanted.includes(outcome)));
}

async function openChannel(configured: ChannelConfig, name: string, s: Surroundings): Promise<Channel> {
  const on = outcomesOf(configured);
  const what = `of notify '${name}'`;
  if (configured.kind === "email") return await openMail(configured, { name, on }, s);
  if (configured.kind === "telegram") {
    const token = await secretToken(configured, `the token ${what}`, s);
    if (token === undefined) throw lacking(`the token ${what}`, "token-file");
    const server = parseUrl(configured.server ?? TELEGRAM, `the server ${what}`);
    return { kind: "telegram", name, on, server, chat: configured.chat, token };
  }
  const url = await secretUrl(configured, `the address ${what}`, s);
  if (configured.kind !== "ntfy") return { kind: configured.kind, name, on, url };
  return { kind: "ntfy", name, on, url, token: await secretToken(configured, `the token ${what}`, s) };
}

async function openMail(
  configured: Extract<ChannelConfig, { kind: "email" }>,
  named: { name: string; on: ReadonlySet<Outcome> },
  s: Surroundings,
): Promise<MailChannel> {
  const { server: host, user, to, from = `chatkeep@${hostname()}` } = configured;
  const security = configured.security ?? (configured.port === 465 ? "tls" : "starttls");
  const port = configured.port ?? { tls: 465, starttls: 587, none: 25 }[security];
  const what = `the password of notify '${named.name}'`;
  const password = user === undefined ? undefined : await mailPassword(configured, what, s);
  if (password !== undefined && security === "none" && !/^(localhost|127\.|\[?::1)/.test(host)) {
    throw new Failure("config/invalid", `${what} would travel to ${host} for everybody to read`, {
      hint: "Use security: starttls or tls, or leave out user and password.",
    });
  }
  const ca = configured["ca-file"];
  const authority = ca === undefined ? undefined : await readAuthority(ca, s);
  return { kind: "email", ...named, from, to: [to].flat(), host, port, security, user, password, authority };
}

async function mailPassword(
  configured: Extract<ChannelConfig, { kind: "email" }>,
  what: string,
  s: Surroundings,
): Promise<string> {
  const { password, "password-file": file, "password-command": command } = configured;
  const value = await secret({ value: password, file, command }, what, s);
  if (value === undefined) throw lacking(what, "password-file");
  return value;
}

async function readAuthority(path: string, s: Surroundings): Promise<string> {
  try {
    return await readFile(resolve(s.cwd, path), "utf8");
  } catch (cause) {
    throw new Failure("config/invalid", `cannot read the certificates in '${path}': ${messageOf(cause)}`, {
      hint: "ca-file names a file with certificates as PEM.",
      cause,
    });
  }
}

type SecretUrl = { url?: string | undefined; "url-file"?: string | undefined; "url-command"?: string | undefined };
type SecretToken = {
  token?: string | undefined;
  "token-file"?: string | undefined;
  "token-command"?: string | undefined;
};

async function secretUrl(given: SecretUrl, what: string, s: Surroundings): Promise<URL> {
  const { url, "url-file": file, "url-command": command } = given;
  const value = await secret({ value: url, file, command }, what, s);
  if (value === undefined) throw lacking(what, "url");
  return parseSecretUrl(value, what, s);
}

async function secretToken(given: SecretToken, what: string, s: Surroundings): Promise<string | undefined> {
  return await secret({ value: given.token, file: given["token-file"], command: given["token-command"] }, what, s);
}

async function secret(
  { value, file, command }: { value: string | undefined; file: string | undefined; command: string | undefined },
  what: string,
  s: Surroundings,
): Promise<string | undefined> {
  if (file !== undefined) return await readSecretFile(file, what, s);
  if (command !== undefined) return await readSecretCommand(command, what, s);
  if (value !== undefined) s.hide([value]);
  return value;
}

/** Whoever has the address of a webhook can use it: its path and what follows are hidden as a whole. */
function parseSecretUrl(text: string, what: string, s: Surroundings): URL {
  const url = parseUrl(text, what);
  s.hide([text, url.href, `${url.pathname}${url.search}`, url.password, ...url.pathname.split("/").filter(isTelling)]);
  return url;
}

/** A part of a path that is no word of an API. */
function isTelling(part: string): boolean {
  return part.length >= 16;
}

function parseUrl(text: string, what: string): URL {
  const url = URL.parse(text);
  if (url !== null && /^https?:$/.test(url.protocol)) return url;
  // What was given may be a secret all the same.
  throw new Failure("config/invalid", `${what} is no URL`, { hint: "It begins with https:// or http://." });
}

function lacking(what: string, key: string): Failure {
  return new Failure("config/invalid", `${what} is not given`, { hint: `Set ${key} in the configuration.` });
}

/** What is called when a run begins, and when it ends well or not. */
export interface Pings {
  start: URL | undefined;
  success: URL | undefined;
  failure: URL | undefined;
}

/** @throws Failure `config/invalid` for what is no URL or cannot be read. */
export async function openPings(config: PingConfig | undefined, s: Surroundings): Promise<Pings> {
  if (config === undefined) return { start: undefined, success: undefined, failure: undefined };
  const given = typeof config === "string" ? { url: config } : config;
  const what = "the address of 'ping'";
  const isBase = given.url !== undefined || given["url-file"] !== undefined || given["url-command"] !== undefined;
  const base = isBase ? await secretUrl(given, what, s) : undefined;
  const own = (key: "start" | "success" | "failure", tail: string) => {
    const text = "start" in given || "success" in given || "failure" in given ? given[key] : undefined;
    if (text !== undefined) return parseSecretUrl(text, `the address of 'ping.${key}'`, s);
    return base === undefined ? undefined : withTail(base, tail);
  };
  return { start: own("start", "/start"), success: own("success", ""), failure: own("failure", "/fail") };
}

function withTail(base: URL, tail: string): URL {
  const url = new URL(base);
  if (tail !== "") url.pathname = `${url.pathname.replace(/\/$/, "")}${tail}`;
  return url;
}
