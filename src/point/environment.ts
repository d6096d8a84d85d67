/**
 * The whole environment of Chatwoot's processes, as a file of the point: units' settings and env files merged, in the
 * order in which they count. The env file itself lies beside it, as it was; this is what a drill opens secrets with.
 */
import { Failure } from "../base/errors.ts";

/** Below `config/`. */
export const SAVED_ENVIRONMENT = "chatkeep/environment.json";

export function formatEnvironment(environment: ReadonlyMap<string, string>): string {
  const sorted = [...environment].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `${JSON.stringify(Object.fromEntries(sorted), null, 1)}\n`;
}

/** @throws Failure `point/invalid`. */
export function parseEnvironment(text: string): Map<string, string> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) {
      return new Map(Object.entries(value).map(([name, entry]) => [name, String(entry)]));
    }
  } catch (cause) {
    throw new Failure("point/invalid", "the saved environment in the restore point is not JSON", { cause });
  }
  throw new Failure("point/invalid", "the saved environment in the restore point is not a list of variables");
}
