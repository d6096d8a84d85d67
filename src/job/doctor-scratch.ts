/** Whether restore points could be proven here: looks for a drill's server as a drill of the next point will. */
import { isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import {
  findScratchServer,
  requireScratchSpace,
  type ScratchOptions,
  type ScratchPlaces,
} from "../postgres/scratch.ts";
import type { ServerFacts } from "../postgres/server-facts.ts";
import type { DoctorSummary } from "./summaries.ts";

/** @param roles that policies and user mappings name. */
export async function lookForScratchServer(
  { major, sizeBytes, ...server }: Pick<ServerFacts, "major" | "extensions" | "sizeBytes">,
  roles: readonly string[],
  { scratch, signal }: { scratch?: ScratchPlaces | undefined; signal: AbortSignal },
): Promise<{ facts: DoctorSummary["facts"]; findings: Finding[] }> {
  const extensions = server.extensions.map((extension) => extension.name);
  const needs = { ...scratch, major, extensions, roles, neededBytes: sizeBytes, signal };
  try {
    const where = await findScratchServer(needs);
    return {
      facts: [{ name: "scratch server for drills", value: `PostgreSQL ${major}`, from: where }],
      findings: await spaceFindings(needs),
    };
  } catch (error) {
    if (!isFailure(error)) throw error;
    const finding: Finding = {
      kind: "no-scratch-server",
      level: "warning",
      message: `restore points cannot be proven here: ${error.message}`,
      hint: error.hint ?? "Install the server's own major version.",
    };
    return { facts: [], findings: [finding] };
  }
}

async function spaceFindings(needs: ScratchOptions): Promise<Finding[]> {
  try {
    await requireScratchSpace(needs);
    return [];
  } catch (error) {
    if (!isFailure(error, "store/full")) throw error;
    return [
      {
        kind: "drill-no-room",
        level: "warning",
        message: `restore points cannot be proven here, for lack of room: ${error.message}`,
        hint: error.hint ?? "Make room on that disk.",
      },
    ];
  }
}
