/** Lock files: who uses the repository now, and whether anyone else may. */
import { bug } from "../base/errors.ts";
import { optionalInteger, optionalString, parseRecord, requiredTime, badField } from "./fields.ts";
import { encodeGoString } from "./go-json.ts";
import { isGoTime } from "./go-time.ts";

export interface LockFile {
  /** When it was written or last refreshed: an instant as Go writes it. */
  readonly time: string;
  readonly exclusive: boolean;
  readonly hostname: string;
  readonly username: string;
  readonly pid: number;
  readonly uid?: number;
  readonly gid?: number;
}

const WHAT = "a lock file";
const MAX_UINT32 = 0xffff_ffff;

/** The JSON of a lock file, as Go would write it. */
export function encodeLock({ time, exclusive, hostname, username, pid, uid, gid }: LockFile): string {
  if (!isGoTime(time)) throw bug(`'${time}' is not an instant`);
  const fields = [
    `"time":"${time}"`,
    `"exclusive":${exclusive}`,
    `"hostname":${encodeGoString(hostname)}`,
    `"username":${encodeGoString(username)}`,
    `"pid":${pid}`,
    uid && `"uid":${uid}`,
    gid && `"gid":${gid}`,
  ];
  return `{${fields.filter(Boolean).join(",")}}`;
}

/**
 * Reads the JSON of a lock file; fields that we do not know are passed over.
 * @throws {Failure} `repo/damaged` when one that we need is missing or is of another type.
 */
export function decodeLock(json: string): LockFile {
  const record = parseRecord(json, WHAT);
  const exclusive = record["exclusive"] ?? false;
  if (typeof exclusive !== "boolean") throw badField(WHAT, "exclusive", "true or false");
  const uid = optionalInteger(record, "uid", WHAT, MAX_UINT32);
  const gid = optionalInteger(record, "gid", WHAT, MAX_UINT32);
  return {
    time: requiredTime(record, "time", WHAT),
    exclusive,
    hostname: optionalString(record, "hostname", WHAT) ?? "",
    username: optionalString(record, "username", WHAT) ?? "",
    pid: optionalInteger(record, "pid", WHAT) ?? 0,
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  };
}
