/** Before a restore: do the keys that lie in the point still fit what its own backup found? */
import { listSome } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import type { PointReader } from "./point-reader.ts";

/** Repeats what the key proof at backup time said: a restore with keys that open nothing must not be a surprise. */
export async function savedKeyFindings(reader: PointReader): Promise<Finding[]> {
  const { keyProof } = await reader.manifest();
  const findings: Finding[] = [];
  if (keyProof.encryption === false) {
    const places = keyProof.checks
      .filter((check) => check.status !== "opens")
      .map((check) => `${check.table}.${check.column}`);
    findings.push({
      kind: "saved-keys-do-not-open",
      level: "alarm",
      message: `the encryption keys in this restore point do not open ${listSome([...new Set(places)])}`,
      hint: "These channels and two-factor logins will not work after the restore: find the right ACTIVE_RECORD_ENCRYPTION_* values.",
    });
  }
  if (keyProof.secretKeyBase === false) {
    findings.push({
      kind: "saved-secret-key-base-wrong",
      level: "alarm",
      message: "the SECRET_KEY_BASE in this restore point does not fit the signed links in its data",
      hint: "Images in articles and e-mails will be lost after the restore: find the right SECRET_KEY_BASE.",
    });
  }
  return findings;
}
