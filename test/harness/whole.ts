/**
 * Whether tests are to try all that they can. `npm test` takes a sample of what has many members that prove the same mechanism,
 * and leaves out what costs much and rests on a mechanism that another test holds; `npm run test:long` runs every file that asks
 * here as well, and then all of it is tried. So does CHATKEEP_TEST_WHOLE=1 for one file.
 */
import { test, type TestContext, type TestOptions } from "node:test";

export const isWhole = process.env["CHATKEEP_TEST_WHOLE"] === "1";

/** So many in `npm test`, and so many in the long run. */
export function sampled(few: number, all: number): number {
  return isWhole ? all : few;
}

/** The first so many of them in `npm test`, and all of them in the long run. */
export function firstOf<T>(all: readonly T[], few: number): readonly T[] {
  return isWhole ? all : all.slice(0, few);
}

/** A test of the long run. */
export function longTest(name: string, act: (t: TestContext) => Promise<void>, options: TestOptions = {}): void {
  if (isWhole) test(name, options, act);
}
