/**
 * A long line to a server, in a process of its own, started by `link.ts`: arguments: the server's port on loopback, the
 * delay of each way in milliseconds, and bytes a second of each way, which all connections share. It prints its port,
 * then, for each line that it is given, the bytes that went up and down since the last one; it ends when its input does.
 *
 * A connection's first bytes wait for one turn more, as they would for TCP's own greeting. What a real line has besides
 * (loss, headers, a connection that begins slowly) is left out.
 */
import { connect, createServer, type Socket } from "node:net";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { createInterface } from "node:readline";

/** Connections take turns with pieces of this size … */
const PIECE_BYTES = 16 * 1024;
/** … that are given to the line so long before it is free; timers are not finer. */
const AHEAD_MS = 3;
/** Of one connection, waiting for the line; beyond, its sender is not read. */
const WAITING_BYTES = 512 * 1024;

const [server = 0, delayMs = 0, bytesPerSecond = 0] = process.argv.slice(2).map(Number);

/** One direction of one connection. */
interface Flow {
  readonly from: Socket;
  readonly to: Socket;
  readonly beginsAt: number;
  readonly waiting: Buffer[];
  waitingBytes: number;
  hasEnded: boolean;
}

/** On its way; without bytes it is the connection's end. */
interface Sent {
  readonly flow: Flow;
  readonly bytes: Buffer | undefined;
  readonly dueAt: number;
}

class Way {
  moved = 0;
  readonly #flows: Flow[] = [];
  readonly #underWay: Sent[] = [];
  #freeAt = 0;
  #timer: NodeJS.Timeout | undefined;

  carry(from: Socket, to: Socket, beginsAt: number): void {
    const flow: Flow = { from, to, beginsAt, waiting: [], waitingBytes: 0, hasEnded: false };
    this.#flows.push(flow);
    from.on("data", (bytes: Buffer) => {
      flow.waiting.push(bytes);
      flow.waitingBytes += bytes.length;
      if (flow.waitingBytes >= WAITING_BYTES) from.pause();
      this.#move();
    });
    from.on("end", () => {
      flow.hasEnded = true;
      this.#move();
    });
    from.on("close", () => {
      if (!flow.hasEnded) to.destroy();
      flow.hasEnded = true;
      this.#move();
    });
    to.on("drain", () => this.#move());
  }

  #move(): void {
    const now = performance.now();
    this.#deliver(now);
    this.#send(now);
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const wakeAt = Math.min(this.#underWay[0]?.dueAt ?? Infinity, this.#nextTurn());
    if (wakeAt < Infinity) this.#timer = setTimeout(() => this.#move(), Math.max(1, wakeAt - now));
  }

  #nextTurn(): number {
    const begins = this.#flows.filter(isReady).map((flow) => flow.beginsAt);
    return begins.length === 0 ? Infinity : Math.max(Math.min(...begins), this.#freeAt - AHEAD_MS);
  }

  #send(now: number): void {
    while (this.#freeAt < now + AHEAD_MS) {
      const at = this.#flows.findIndex((flow) => isReady(flow) && flow.beginsAt <= now);
      const [flow] = at === -1 ? [] : this.#flows.splice(at, 1);
      if (flow === undefined) return;
      const bytes = takePiece(flow);
      const length = bytes?.length ?? 0;
      this.moved += length;
      this.#freeAt = Math.max(this.#freeAt, now) + (length / bytesPerSecond) * 1000;
      this.#underWay.push({ flow, bytes, dueAt: this.#freeAt + delayMs });
      // It has had its turn.
      if (bytes !== undefined) this.#flows.push(flow);
    }
  }

  #deliver(now: number): void {
    const touched = new Set<Socket>();
    for (;;) {
      const next = this.#underWay[0];
      if (next === undefined || next.dueAt > now + 0.5) break;
      this.#underWay.shift();
      const { to } = next.flow;
      if (to.destroyed) continue;
      if (!touched.has(to)) to.cork();
      touched.add(to);
      if (next.bytes === undefined) to.end();
      else to.write(next.bytes);
    }
    for (const to of touched) to.uncork();
  }
}

function isReady({ waiting, hasEnded, to }: Flow): boolean {
  return (waiting.length > 0 || hasEnded) && to.writableLength < WAITING_BYTES;
}

function takePiece(flow: Flow): Buffer | undefined {
  const first = flow.waiting.shift();
  if (first === undefined) return undefined;
  if (first.length > PIECE_BYTES) flow.waiting.unshift(first.subarray(PIECE_BYTES));
  const piece = first.subarray(0, PIECE_BYTES);
  flow.waitingBytes -= piece.length;
  if (flow.waitingBytes < WAITING_BYTES && flow.from.isPaused()) flow.from.resume();
  return piece;
}

const [up, down] = [new Way(), new Way()];
const listener = createServer({ allowHalfOpen: true }, (near) => {
  const far = connect({ port: server, host: "127.0.0.1", allowHalfOpen: true });
  const greetedAt = performance.now() + 2 * delayMs;
  for (const socket of [near, far]) socket.setNoDelay(true).on("error", () => {});
  up.carry(near, far, greetedAt);
  down.carry(far, near, greetedAt);
});
listener.listen(0, "127.0.0.1", () => {
  const address = listener.address();
  if (typeof address === "object") process.stdout.write(`${address?.port}\n`);
});
const lines = createInterface({ input: process.stdin });
lines.on("line", () => {
  process.stdout.write(`${up.moved} ${down.moved}\n`);
  up.moved = 0;
  down.moved = 0;
});
lines.on("close", () => process.exit(0));
