/** Messages that flow, and an account of them that is kept outside of the database: what it acknowledged, and when. */
import type { Clock } from "../base/clock.ts";
import { attachFile, sendMessage } from "./change.ts";
import { onDatabase } from "./database.ts";
import type { DemoInstallation } from "./installation.ts";
import { seededRandom } from "./random.ts";

export interface Acknowledged {
  /** Of the row in `messages`. */
  readonly id: number;
  /** Milliseconds on the clock's monotonic scale: when the answer to the commit had come. */
  readonly atMs: number;
}

export interface Traffic {
  /** In the order in which the answers came. */
  readonly messages: readonly Acknowledged[];
  readonly files: number;
  /** Resolves when the server is gone, or the signal is aborted. @throws what else a database may answer. */
  readonly over: Promise<void>;
}

export interface TrafficOptions {
  /** Customers and agents who write at once. */
  readonly writers: number;
  /** Between two messages of one writer, in milliseconds. */
  readonly pauseMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Every so many messages a file comes along. */
const FILE_EVERY = 40;

/** Begins at once, and goes on until the server is gone. */
export function startTraffic(installation: DemoInstallation, options: TrafficOptions): Traffic {
  const messages: Acknowledged[] = [];
  const counted = { files: 0 };
  const writers = Array.from({ length: options.writers }, async (_, writer) => {
    await write(installation, { ...options, writer, messages, counted });
  });
  const over = Promise.all(writers).then(() => {});
  // It is asked for later, when the server has been destroyed.
  over.catch(() => {});
  return {
    messages,
    get files() {
      return counted.files;
    },
    over,
  };
}

interface Writing extends TrafficOptions {
  readonly writer: number;
  readonly messages: Acknowledged[];
  readonly counted: { files: number };
}

async function write(installation: DemoInstallation, options: Writing): Promise<void> {
  const { writer, messages, counted, pauseMs, clock, signal } = options;
  const random = seededRandom(`${installation.seed}/traffic/${writer}`);
  try {
    await onDatabase(installation.database, async (client) => {
      // What is acknowledged is on the server's disk, as Chatwoot's own server does it.
      await client.query("SET synchronous_commit = on");
      for (let number = 1; !signal.aborted; number += 1) {
        if (writer === 0 && number % FILE_EVERY === 0) {
          await attachFile(client, random, installation.storageRoot);
          counted.files += 1;
        }
        const id = await sendMessage(client, random);
        messages.push({ id, atMs: clock.monotonic() });
        await clock.sleep(pauseMs, signal);
      }
    });
  } catch (error) {
    if (!signal.aborted && !isOfLostServer(error)) throw error;
  }
}

/** The connection broke, or the server said that it goes: classes 08 and 57P of SQLSTATE. */
function isOfLostServer(error: unknown): boolean {
  const { code, message = "" } = error as { code?: string; message?: string };
  if (code !== undefined) return /^(?:08|57P|E[A-Z]+$)/.test(code);
  return message.startsWith("Connection terminated") || message.includes("Client has encountered a connection error");
}
