/** What is said of files that a restore could not put back. */
import { plural } from "../../base/bytes.ts";
import type { Finding } from "../../base/findings.ts";
import type { PutResult } from "./put-files.ts";

export function problemFindings({ problems, wrong }: Pick<PutResult, "problems" | "wrong">): Finding[] {
  const findings: Finding[] = [];
  if (problems.length > 0) {
    const shown = problems.slice(0, 3).map(({ path, reason }) => `${path} (${reason})`);
    findings.push({
      kind: "files-not-restored",
      level: "alarm",
      message: `${plural(problems.length, "uploaded file")} could not be restored: ${shown.join("; ")}${problems.length > 3 ? "; …" : ""}`,
      hint: "Everything else was restored. 'chatkeep verify --read-data' names the damage; another restore point may hold these files.",
    });
  }
  if (wrong > 0) {
    findings.push({
      kind: "files-left-wrong",
      level: "warning",
      message: `${plural(wrong, "uploaded file")} ${wrong === 1 ? "is" : "are"} there with another length than the database says, and ${wrong === 1 ? "was" : "were"} left so`,
      hint: "'chatkeep scrub --all' names them.",
    });
  }
  return findings;
}
