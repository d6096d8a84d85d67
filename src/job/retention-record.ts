/**
 * What is known of the locks of an immutable repository's files: when each was written, by the place's clock, and until when
 * it is locked at least. So the next backup need not ask for each of them.
 *
 * It is sealed with the repository's keys, so that nobody without the password makes one up. One that is lost, damaged or of
 * another repository counts for none. An old one is sound: locks are never shortened but by who may lift them, and what was
 * written anew since has another time.
 */
import { type Keys, seal, tryUnseal } from "../format/crypto.ts";

export interface RecordedFile {
  /** Milliseconds since 1970, by the place's clock. */
  readonly writtenAtMs: number;
  readonly untilMs: number;
}

/** By name: names are hashes, so no two kinds share one. */
export type RetentionRecord = ReadonlyMap<string, RecordedFile>;

const MAGIC = Buffer.from("chatkeep retention 1\n");
const NAME_BYTES = 32;
const TIME_BYTES = 6;
const ENTRY_BYTES = NAME_BYTES + 2 * TIME_BYTES;

export function sealRecord(keys: Keys, record: RetentionRecord): Buffer {
  const bytes = Buffer.alloc(MAGIC.length + record.size * ENTRY_BYTES);
  MAGIC.copy(bytes);
  let at = MAGIC.length;
  for (const [name, { writtenAtMs, untilMs }] of record) {
    bytes.write(name, at, NAME_BYTES, "hex");
    bytes.writeUIntBE(writtenAtMs, at + NAME_BYTES, TIME_BYTES);
    // Places keep whole seconds.
    bytes.writeUIntBE(Math.floor(untilMs / 1000) * 1000, at + NAME_BYTES + TIME_BYTES, TIME_BYTES);
    at += ENTRY_BYTES;
  }
  return seal(keys, bytes);
}

/** Empty for anything that is no record of these keys. */
export function unsealRecord(keys: Keys, sealed: Uint8Array): RetentionRecord {
  const record = new Map<string, RecordedFile>();
  const bytes = tryUnseal(keys, sealed);
  if (bytes?.subarray(0, MAGIC.length).equals(MAGIC) !== true) return record;
  for (let at = MAGIC.length; at + ENTRY_BYTES <= bytes.length; at += ENTRY_BYTES) {
    record.set(bytes.toString("hex", at, at + NAME_BYTES), {
      writtenAtMs: bytes.readUIntBE(at + NAME_BYTES, TIME_BYTES),
      untilMs: bytes.readUIntBE(at + NAME_BYTES + TIME_BYTES, TIME_BYTES),
    });
  }
  return record;
}
