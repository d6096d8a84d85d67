/** The licences of what is inside the executable and was written by others: their terms want them to travel with it. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";

interface Part {
  readonly name: string;
  readonly version: string;
  readonly licence: string;
  readonly texts: readonly string[];
}

const TEXTS = /^(licen[cs]e|notice|copying|copyright|thirdparty|third-party)/i;

/** The folder of the package that a file of `node_modules` belongs to, from the project's root; undefined: it is our own. */
function packageOf(file: string): string | undefined {
  const parts = file.split("/");
  const at = parts.lastIndexOf("node_modules");
  if (at < 0) return undefined;
  return parts.slice(0, at + (parts[at + 1]?.startsWith("@") === true ? 3 : 2)).join("/");
}

function readPackage(folder: string): Part {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
    name: string;
    version: string;
    license?: string;
  };
  const files = readdirSync(folder)
    .filter((file) => TEXTS.test(file) && !/\.(js|ts|json)$/.test(file))
    .toSorted();
  return {
    name,
    version,
    licence: license ?? "see below",
    texts: files.map((file) => readFileSync(join(folder, file), "utf8").trim()),
  };
}

/**
 * One text for all of them.
 * @param root The project's folder.
 * @param files Every file that was built in, from there.
 * @param node Node's version and the text of its licence, which names the libraries within.
 */
export function formatNotices(
  root: string,
  files: readonly string[],
  node: { version: string; licence: string },
): string {
  const folders = new Set(files.map((file) => packageOf(relative(root, join(root, file)).split(sep).join("/"))));
  const packages = [...folders]
    .filter((folder) => folder !== undefined)
    .map((folder) => readPackage(join(root, folder)))
    .toSorted((a, b) => a.name.localeCompare(b.name, "en") || a.version.localeCompare(b.version, "en"));
  const parts = [
    { name: "Node.js", version: node.version, licence: "MIT, and those of its libraries", texts: [node.licence] },
    ...packages,
  ];
  const rule = "=".repeat(80);
  return [
    "Chatkeep's single executable holds these works of others, unchanged but for what",
    "deploy/executable/README.md says of Node.js:",
    "",
    ...parts.map(({ name, version, licence }) => `  ${name} ${version}: ${licence}`),
    ...parts.flatMap(({ name, version, licence, texts }) => [
      "",
      rule,
      `${name} ${version} (${licence})`,
      rule,
      "",
      ...(texts.length > 0 ? texts : [`The package names its licence, ${licence}, and holds no text of it.`]),
    ]),
    "",
  ].join("\n");
}

/** The licence of this Node, from the package that brought it or the folder that set-up fetched it to. @throws Error when there is none. */
export function readNodeLicence(root: string, version: string): string {
  const places = [
    join(root, `node_modules/node/node_modules/node-${process.platform}-${process.arch}/LICENSE`),
    join(root, `.cache/node-licence/${version}/LICENSE`),
  ];
  const found = places.find((place) => existsSync(place));
  if (found === undefined)
    throw new Error("Node's licence is not here: 'node scripts/setup.mjs --for=executable' fetches it");
  return readFileSync(found, "utf8").trim();
}
