/**
 * A socket that reads into a few blocks of memory which are used again, while somebody has borrowed it (`borrowed-socket.ts`): a base and
 * a log come by the GiB, and a piece of memory of its own for each 64 KiB of them costs more than to look at them. The larger a
 * read may be, the fewer there are. To everybody else it is a socket like any other.
 */
import { Socket } from "node:net";

const BLOCK_BYTES = 256 * 1024;
/** Each read is offered so much at least. */
const LEAST_BYTES = 64 * 1024;

interface Block {
  readonly memory: Buffer;
  /** Up to here it was read into. */
  filled: number;
  /** Reads into it that somebody still looks at. */
  lent: number;
}

const readers = new WeakMap<object, BlockReader>();

/** A socket that is not connected yet. */
export function openBlockSocket(): Socket {
  const reader: BlockReader = new BlockReader(() => socket);
  const socket: Socket = new Socket({
    onread: { buffer: () => reader.target(), callback: (length, into) => reader.came(into.subarray(0, length)) },
  });
  readers.set(socket, reader);
  return socket;
}

/** How a socket of {@link openBlockSocket} is read by whoever borrows it; undefined for others. */
export function readerOf(socket: object): BlockReader | undefined {
  return readers.get(socket);
}

export class BlockReader {
  readonly #socket: () => Socket;
  #onReadable: (() => void) | undefined;
  /** Where reads go while nobody has borrowed it. */
  #own: Buffer | undefined;
  #block: Block | undefined;
  readonly #blocks = new Map<ArrayBufferLike, Block>();
  #free: Block[] = [];
  /** Came, and was not taken: until then the socket is not read. */
  #held: Buffer | undefined;
  #isStopped = false;

  constructor(socket: () => Socket) {
    this.#socket = socket;
  }

  /** @param onReadable Called for each read. */
  borrow(onReadable: () => void): void {
    this.#onReadable = onReadable;
  }

  /** What came; null where nothing did, and then the socket is read on. */
  read(): Buffer | null {
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined) return held;
    if (this.#isStopped) {
      this.#isStopped = false;
      this.#socket().resume();
    }
    return null;
  }

  /** Nobody looks at what {@link read} gave any more. */
  release({ buffer }: Buffer): void {
    const block = this.#blocks.get(buffer);
    if (block === undefined) return;
    block.lent -= 1;
    if (block.lent === 0 && block !== this.#block) this.#free.push(block);
  }

  /** It is a socket like any other again. */
  giveBack(): void {
    this.#onReadable = undefined;
    this.#isStopped = false;
    this.#block = undefined;
    this.#blocks.clear();
    this.#free = [];
  }

  /** Where the next read goes. */
  target(): Buffer {
    if (this.#onReadable === undefined) return (this.#own ??= Buffer.allocUnsafeSlow(LEAST_BYTES));
    let block = this.#block;
    if (block === undefined || block.memory.length - block.filled < LEAST_BYTES) {
      if (block?.lent === 0) this.#free.push(block);
      block = this.#free.pop() ?? this.#makeBlock();
      block.filled = 0;
      this.#block = block;
    }
    return block.memory.subarray(block.filled);
  }

  #makeBlock(): Block {
    const block = { memory: Buffer.allocUnsafeSlow(BLOCK_BYTES), filled: 0, lent: 0 };
    this.#blocks.set(block.memory.buffer, block);
    return block;
  }

  /** @returns false: nothing is read before somebody took this. */
  came(bytes: Uint8Array): boolean {
    const block = this.#block;
    if (this.#onReadable === undefined) return this.#socket().push(Buffer.from(bytes));
    if (block !== undefined && bytes.buffer === block.memory.buffer) {
      block.filled = bytes.byteOffset + bytes.length;
      block.lent += 1;
      this.#held = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    } else {
      this.#held = Buffer.from(bytes);
    }
    this.#onReadable();
    this.#isStopped = this.#held !== undefined;
    return !this.#isStopped;
  }
}
