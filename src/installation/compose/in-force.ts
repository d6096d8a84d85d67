/** Whether Chatwoot's containers have the environment that the files have which they were made with. */
import type { Finding } from "../../base/findings.ts";
import { readEnvFile } from "../../chatwoot/environment.ts";
import { notInForce } from "../in-force.ts";
import { DECISIVE } from "../process-worries.ts";
import { type Container, serviceOf } from "./containers.ts";
import type { GivenByFiles } from "./files.ts";

/** By the container's name. */
type Given = ReadonlyMap<string, GivenByFiles>;

/** What stands behind the last `NAME=` as it is: engines and versions of Compose differ in what ends a value. */
function writtenFor(name: string, text: string): string {
  return [...text.matchAll(new RegExp(`^\\s*(?:export\\s+)?${name}\\s*=(.*)$`, "gm"))].at(-1)?.[1] ?? "";
}

function isSame(one: string, other: string): boolean {
  return unquoted(one.trim()) === unquoted(other.trim());
}

/** `'x'` and `"x"` are x, for whoever made the container; the old Compose kept the quotes. */
function unquoted(value: string): string {
  const [, , inner] = /^(['"])(.*)\1$/.exec(value) ?? [];
  return inner ?? value;
}

/** Names for which a container has another value than its files have now: it was made before they were changed (F14). */
function staleNames({ env, name }: Container, given: Given): { names: string[]; paths: string[] } {
  const { files, own } = given.get(name) ?? { files: [], own: new Set<string>() };
  const said = new Map(
    files.flatMap(({ path, text }) =>
      [...readEnvFile(text).values].map(([key, value]) => [key, { path, text, value }]),
    ),
  );
  const stale = DECISIVE.filter((key) => {
    const has = env.get(key);
    const now = said.get(key);
    if (own.has(key) || has === undefined || now === undefined) return false;
    const written = writtenFor(key, now.text);
    // What Compose fills in is made of variables that are not known here.
    if (written.includes("$")) return false;
    return ![now.value, written, written.replace(/\s#.*$/, "")].some((value) => isSame(has, value));
  });
  return { names: stale, paths: stale.flatMap((key) => said.get(key)?.path ?? []) };
}

/** Containers that were made before their environment files were changed. */
export function staleFindings(members: readonly Container[], given: Given): Finding[] {
  const stale = members
    .map((container) => ({ container, ...staleNames(container, given) }))
    .filter(({ names }) => names.length > 0);
  if (stale.length === 0) return [];
  const names = [...new Set(stale.flatMap((one) => one.names))];
  const services = [...new Set(members.map(serviceOf))];
  return [
    notInForce(
      stale.map(({ container }) => container.name),
      names,
      {
        from: [...new Set(stale.flatMap(({ paths }) => paths))].join(" and "),
        restart: `docker compose up --detach ${services.join(" ")}`,
      },
    ),
  ];
}
