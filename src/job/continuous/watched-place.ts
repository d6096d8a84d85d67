/** What following the log needs of one repository. */
import type { Line } from "../../point/continuous.ts";
import type { Lsn } from "../../wal/lsn.ts";
import type { SpanPlace } from "./keeper.ts";
import type { NewestLine } from "./newest-line.ts";
import type { Standing } from "./take-up.ts";

export interface WatchedPlace {
  /** The repository's name. */
  readonly name: string;
  /** The newest that it has, of whatever line; undefined where it has nothing. @throws Failure of the store or the repository. */
  newest(options: { signal: AbortSignal }): Promise<NewestLine | undefined>;
  /**
   * Up to where it has a line; undefined where it has nothing of it.
   * @param options `after`: only of what begins behind that.
   * @throws Failure of the store or the repository.
   */
  standing(
    line: Line,
    segmentBytes: number,
    options: { signal: AbortSignal; after?: Lsn },
  ): Promise<Standing | undefined>;
  /** What its journal has of a line from a position on, without a gap; ends where that ends, or cannot be read. */
  readJournal(line: Line, from: Lsn, options: { signal: AbortSignal }): AsyncIterable<Buffer>;
  /** @param facts `histories`: texts of the history files of the line's timeline and of those before it. */
  spanPlace(facts: { segmentBytes: number; histories: ReadonlyMap<number, string> }): Promise<SpanPlace>;
}
