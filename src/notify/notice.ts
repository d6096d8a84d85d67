/** What is told, and whom: values only. */

/** How a run ended, for whoever is told of it. */
export const OUTCOMES = ["failure", "finding", "success"] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** One message to people. It is kept on disk until it is delivered, so it never holds a secret. */
export interface Notice {
  readonly outcome: Outcome;
  /** One line of ASCII. */
  readonly title: string;
  /** Plain text of several lines. */
  readonly text: string;
  /** For programs: what a `generic` webhook gets beside title and text. */
  readonly facts: Readonly<Record<string, unknown>>;
}

interface Named {
  readonly name: string;
  /** What is told there. */
  readonly on: ReadonlySet<Outcome>;
}

export interface MailChannel extends Named {
  readonly kind: "email";
  readonly from: string;
  readonly to: readonly string[];
  readonly host: string;
  readonly port: number;
  readonly security: "tls" | "starttls" | "none";
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  /** PEM: an authority that is believed beside the usual ones. */
  readonly authority?: string | undefined;
}

export interface HookChannel extends Named {
  readonly kind: "generic" | "slack" | "discord";
  readonly url: URL;
}

export interface TelegramChannel extends Named {
  readonly kind: "telegram";
  /** The Bot API's address. */
  readonly server: URL;
  readonly chat: string;
  readonly token: string;
}

export interface NtfyChannel extends Named {
  readonly kind: "ntfy";
  /** Server and topic. */
  readonly url: URL;
  readonly token?: string | undefined;
}

export type Channel = MailChannel | HookChannel | TelegramChannel | NtfyChannel;

export function isWanted(channel: Channel, outcome: Outcome): boolean {
  return channel.on.has(outcome);
}
