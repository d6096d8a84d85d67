/** `--as-clone --frontend-url URL [--anonymise]`, wherever a restore goes. */
import { Failure } from "../../base/errors.ts";
import type { CloneChoice } from "../../job/restore.ts";
import type { Invocation } from "../command.ts";

/** @throws Failure `usage/invalid` where one is given without the other, or the address is none. */
export function cloneOf({ given }: Invocation): CloneChoice | undefined {
  const frontendUrl = given.text("frontendUrl");
  if (given.has("asClone") !== (frontendUrl !== undefined)) {
    throw new Failure("usage/invalid", "--as-clone and --frontend-url go together", {
      hint: "A copy has an address of its own: --as-clone --frontend-url https://staging.example.com.",
    });
  }
  if (given.has("anonymise") && frontendUrl === undefined) {
    throw new Failure("usage/invalid", "--anonymise is for a copy", {
      hint: "Say --as-clone and --frontend-url, too.",
    });
  }
  if (frontendUrl === undefined) return undefined;
  const url = URL.parse(frontendUrl);
  if (url === null || !/^https?:$/.test(url.protocol) || url.hostname === "") {
    throw new Failure("usage/invalid", `'${frontendUrl}' is no address of a web site`, {
      hint: "It is what people type to reach the copy: https://staging.example.com.",
    });
  }
  return { frontendUrl: frontendUrl.replace(/\/+$/, ""), anonymise: given.has("anonymise") };
}

/** @throws Failure `usage/invalid` where the database is not restored whole. */
export function cloneBeside(invocation: Invocation): CloneChoice | undefined {
  const { given } = invocation;
  const clone = cloneOf(invocation);
  if (clone === undefined) return undefined;
  const only = given.list("only");
  const isPart = given.list("table").length > 0 || given.has("schemaOnly");
  const hasDatabase = given.text("databaseUrl") !== undefined && (only.length === 0 || only.includes("database"));
  if (hasDatabase && !isPart) return clone;
  throw new Failure("usage/invalid", "--as-clone is for a whole database", {
    hint: "Name a new or empty one with --database-url; --table and --schema-only are not for clones.",
  });
}
