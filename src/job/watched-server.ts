/**
 * Where the server is that a watch follows. A container that is made anew may get another address, and a database that was moved has one:
 * so whoever cannot reach it says so, and after a few times the installation is looked at anew, beside what is tried meanwhile. So it is
 * with the storage of uploaded files.
 */
import { EarlyWork } from "../base/concurrent.ts";
import { type Failure, messageOf } from "../base/errors.ts";
import { describeAddress, type ServerAddress } from "../postgres/address.ts";

export interface Whereabouts {
  /** Chatwoot's database. */
  readonly address: ServerAddress;
  /** Where the log is had. */
  readonly replication: ServerAddress;
}

export interface WatchedServerOptions extends Whereabouts {
  /** Looks at the installation anew. What it throws is said once, and counts as nothing new. */
  readonly look: (now: Whereabouts, options: { signal: AbortSignal }) => Promise<Whereabouts>;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Who follows the log; who follows files has names of its own. */
const LOG = "log";
/** A restart takes so many tries, and moves nothing. The waits between them grow, and with them those between looks. */
const LOOK_FROM = 3;
/** Of looks at files that cannot be read, after each so many. */
const STORAGE_LOOKS = 60;

/** Dispose of it: a look that is under way ends then. */
export class WatchedServer implements AsyncDisposable {
  readonly #o: WatchedServerOptions;
  #now: Whereabouts;
  /** Where Chatwoot's database is, as was found last. */
  #found: ServerAddress;
  #cluster: string | undefined;
  /** How often each of them has failed, one time after the other. */
  readonly #failures = new Map<string, number>();
  #looking: EarlyWork<void> | undefined;
  /** Why it could not be looked. */
  #said: string | undefined;

  constructor(options: WatchedServerOptions) {
    const { address, replication } = options;
    this.#o = options;
    this.#now = { address, replication };
    this.#found = address;
  }

  get address(): ServerAddress {
    return this.#now.address;
  }

  get replication(): ServerAddress {
    return this.#now.replication;
  }

  /** The system identifier of the cluster whose log is followed, at whatever address; undefined before any is. */
  get cluster(): string | undefined {
    return this.#cluster;
  }

  /** The log of a cluster is followed from now on. */
  follows(systemId: string): void {
    this.#cluster = systemId;
  }

  /** A session could not begin, or ended (undefined: one goes on well). @param who the log without it, or of which repository the files are. */
  session(failure: Failure | undefined, who = LOG): void {
    if (failure === undefined) {
      this.#failures.delete(who);
      if (who === LOG) this.#goOn({ ...this.#now, address: this.#found });
      return;
    }
    if (!isOfPlace(failure)) return;
    if (this.#count(who) >= LOOK_FROM) this.#lookBeside();
  }

  /** Files could not be read at a look, or could: Chatwoot may have another storage now, or another key to it. */
  storage(isRefused: boolean, who: string): void {
    if (!isRefused) {
      this.#failures.delete(who);
      return;
    }
    // Looks follow one another at once, where attempts at a session wait.
    const times = this.#count(who);
    if (times === LOOK_FROM || times % STORAGE_LOOKS === 0) this.#lookBeside();
  }

  #count(who: string): number {
    const times = (this.#failures.get(who) ?? 0) + 1;
    this.#failures.set(who, times);
    return times;
  }

  #lookBeside(): void {
    if (this.#looking !== undefined) return;
    this.#looking = new EarlyWork(async (signal) => await this.#look(signal), this.#o);
    void this.#looking.result.finally(() => (this.#looking = undefined));
  }

  async #look(signal: AbortSignal): Promise<void> {
    const found = await this.#o.look(this.#now, { signal }).catch((error: unknown) => {
      if (!signal.aborted) this.#sayWhyNot(messageOf(error));
    });
    if (found === undefined || signal.aborted) return;
    this.#said = undefined;
    this.#found = found.address;
    // While the log is nowhere it is not known whether that is the right server: files go where the log is let in.
    const address = this.#failures.has(LOG) ? this.#now.address : found.address;
    this.#goOn({ address, replication: found.replication });
  }

  #sayWhyNot(why: string): void {
    if (why !== this.#said) this.#o.say(`where the database is now cannot be told: ${why}`);
    this.#said = why;
  }

  #goOn(to: Whereabouts): void {
    const [from, at] = [this.#now, to].map(({ address, replication }) => [address, replication].map(describeAddress));
    this.#now = to;
    if (at?.[1] !== from?.[1]) this.#o.say(`the log is asked for elsewhere now: ${at?.[1]}`);
    if (at?.[0] !== from?.[0]) this.#o.say(`Chatwoot's database is elsewhere now: ${at?.[0]}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#looking?.[Symbol.asyncDispose]();
  }
}

/** It may be a matter of where we ask: there is nobody, another server, or one that does not know us. */
function isOfPlace({ code }: Failure): boolean {
  return code === "database/unreachable" || code === "database/denied" || code === "wal/other-cluster";
}
