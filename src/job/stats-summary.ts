/** What `stats` says. */
export interface StatsSummary {
  type: "summary";
  verb: "stats";
  repository: string;
  /** What lies in the packs, whoever needs it. Sizes are bytes. */
  stored: { packs: number; bytes: number; chunks: number };
  /** What some snapshot needs: each chunk once. `unpacked` is before compression. */
  used: { chunks: number; trees: number; bytes: number; unpackedBytes: number };
  /** What no snapshot needs any more, headers of packs included. */
  unusedBytes: number;
  /** Index, snapshots and key files. */
  beside: { files: number; bytes: number };
  ratios: {
    /** Before compression : after it. */
    compression: number | null;
    /** All points restored : what they hold together, each chunk once, before compression. */
    deduplication: number | null;
    /** All points restored : what is stored for them. */
    overall: number | null;
  };
  /** Oldest first. */
  points: PointSize[];
  otherSnapshots: number;
  /** Of them, those that are no restore points of a backup: none that there is nothing of. */
  otherSizes: OtherSize[];
  /** What the newest of these points holds. */
  newest: NewestSize | null;
  /** What could not be read, so that it is not counted, and some of what needs it: points, and pieces in words. */
  damaged: { name: string; message: string; points: string[]; continuous: string[] }[];
  seconds: number;
}

/** What snapshots that are no restore points of a backup take, together, of the whole repository. */
export interface OtherSize {
  /** Points of moments; bases, log and followed files of continuous protection; proofs, holds and other marks; what is not Chatkeep's. */
  what: "moments" | "bases" | "log" | "files" | "marks" | "others";
  snapshots: number;
  /** Stored with them: what no snapshot before had. */
  addedBytes: number;
}

export interface PointSize {
  point: string;
  takenAt: string;
  installation: { id: string; name: string };
  files: number;
  /** Restored. */
  bytes: number;
  /** Stored with it: what no snapshot before it had. */
  addedBytes: number;
  addedChunks: number;
  /** Stored for it alone: what no other snapshot needs. */
  uniqueBytes: number;
}

export interface NewestSize {
  point: string;
  database: { rows: number; bytes: number; tables: { name: string; rows: number; bytes: number }[] };
  storage: { name: string; kind: string; files: number; bytes: number }[];
}
