/** Bringing a notice to where it is to be told, or a sign of life to who waits for it: tried again a few times, in bounds. */
import type { Clock } from "../base/clock.ts";
import { ERRORS, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Channel, Notice } from "./notice.ts";
import { type HttpTools, send } from "./request.ts";
import { webhookCall } from "./webhook.ts";

export interface DeliveryTools extends HttpTools {
  readonly clock: Clock;
}

/** @throws Failure `notice/failed` or `notice/refused`: what the last try said. */
export async function deliver(channel: Channel, notice: Notice, tools: DeliveryTools): Promise<void> {
  await trying(async () => {
    if (channel.kind === "email") await (await import("./mail.ts")).sendMail(channel, notice, tools);
    else await send(webhookCall(channel, notice), tools);
  }, tools);
}

/** Calls the URL of a dead-man's switch. @throws as {@link deliver}. */
export async function ping(url: URL, tools: DeliveryTools): Promise<void> {
  await trying(async () => await send({ method: "GET", url }, tools), tools);
}

async function trying(once: () => Promise<void>, { clock, signal }: DeliveryTools): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await once();
      return;
    } catch (error) {
      const wait = LIMITS.noticeWaitsMs[attempt];
      if (!isFailure(error) || !ERRORS[error.code].retry || wait === undefined) throw error;
      const asked = error.retryAfterMs ?? 0;
      // What is asked to wait longer is sent by the next run.
      if (asked > LIMITS.noticeLongestWaitMs) throw error;
      await clock.sleep(Math.max(wait, asked), signal);
    }
  }
}
