/**
 * Files that nobody can remove before a moment has come: S3's object lock, Azure's immutability policies. Files are
 * written with it, and it is extended before it runs out, for as long as they are needed.
 */
import type { CallOptions } from "./store.ts";

/**
 * `governance` can be lifted by whoever has a right of its own for that, `compliance` by nobody. On Azure only `compliance`
 * is of use: the right to extend a policy that is not locked is the right to take it away.
 */
export type RetentionMode = "governance" | "compliance";

export interface RetentionPolicy {
  readonly forMs: number;
  readonly mode: RetentionMode;
}

export interface Retained {
  /** Milliseconds since 1970, by the place's clock. */
  readonly untilMs: number;
  readonly mode: RetentionMode;
}

/**
 * What a file's retention is to become, or undefined where it is long enough: one that ends within half the policy's
 * time is set to end after the whole of it. Its mode stays; it is never shortened.
 */
export function extended(
  current: Retained | undefined,
  { forMs, mode }: RetentionPolicy,
  nowMs: number,
): Retained | undefined {
  if (current !== undefined && current.untilMs >= nowMs + forMs / 2) return undefined;
  return { untilMs: nowMs + forMs, mode: current?.mode ?? mode };
}

const KEPT = /^(config$|(keys|snapshots|index|data)\/)/;

/** What is written with retention: neither the repository's locks, which every run removes, nor what is no repository's. */
export function isKept(key: string): boolean {
  return KEPT.test(key);
}

/** What a place that is used with retention can do. `Key` names a file. */
export interface Retention<Key> {
  readonly policy: RetentionPolicy;
  /** True where listing files tells what they are kept by, so that not each must be asked for. */
  readonly isListed: boolean;
  /** @throws Failure `usage/invalid` where the place cannot keep files so. */
  check(options: CallOptions): Promise<void>;
  /** Until when a file is kept; undefined where it may be removed now, or is not there. */
  until(key: Key, options: CallOptions): Promise<number | undefined>;
  /** Extends a file's retention where {@link extended} says so. @throws Failure `store/not-found`. */
  keep(key: Key, options: CallOptions & { nowMs: number }): Promise<{ untilMs: number; wasExtended: boolean }>;
}

/** Makes each call through another function, which may wait, watch or try again. */
export function retentionThrough(
  inner: Retention<string> | undefined,
  call: <T>(doing: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>) => Promise<T>,
): Retention<string> | undefined {
  if (inner === undefined) return undefined;
  return {
    policy: inner.policy,
    isListed: inner.isListed,
    check: async ({ signal }) =>
      await call(
        "asking whether files can be locked",
        signal,
        async (limited) => await inner.check({ signal: limited }),
      ),
    until: async (key, { signal }) =>
      await call(
        `asking for the retention of '${key}'`,
        signal,
        async (limited) => await inner.until(key, { signal: limited }),
      ),
    keep: async (key, { signal, nowMs }) =>
      await call(
        `extending the retention of '${key}'`,
        signal,
        async (limited) => await inner.keep(key, { signal: limited, nowMs }),
      ),
  };
}
