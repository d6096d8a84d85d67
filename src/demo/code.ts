/** The application's folder: a git checkout as an operator has it, with a change of their own in it. */
import { appendFile, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { runProgram } from "../system/process.ts";
import { HISTORY_ENDS_AT } from "./seed/rows.ts";

/** Where the checkout lies, and the bare repository that is its `origin`. */
export interface CodeFolders {
  codeRoot: string;
  origin: string;
}

const LOCAL_COMMIT = "Greet returning customers by name";
const EDITED_FILE = "app/javascript/widget/greeting.js";

function upstreamFiles(version: string): Record<string, string> {
  const files: Record<string, string> = {
    ".gitignore": "/.env\n/storage/*\n/log/*\n/tmp/*\n/node_modules\n/public/packs\n",
    "README.md":
      "# A stand-in for Chatwoot's code\n\nMade by `chatkeep demo`; it has the layout and none of the program.\n",
    VERSION_CW: `${version}\n`,
    "config/app.yml": `shared: &shared\n  version: '${version}'\n\ndevelopment:\n  <<: *shared\n\nproduction:\n  <<: *shared\n`,
    "config/storage.yml": "local:\n  service: Disk\n  root: <%= Rails.root.join('storage') %>\n",
    "enterprise/README.md": "Enterprise edition\n",
    "public/brand-assets/logo.svg": '<svg xmlns="http://www.w3.org/2000/svg"/>\n',
    Procfile: "web: bin/rails server\nworker: bundle exec sidekiq\n",
    [EDITED_FILE]: "export const greeting = (name) => `Hello ${name}`;\n",
  };
  for (const model of ["account", "inbox", "contact", "conversation", "message", "attachment"]) {
    files[`app/models/${model}.rb`] = `# stands in for the model '${model}'\n`;
  }
  return files;
}

/** Git without the configuration of whoever runs this, and with the same dates each time. */
async function git(cwd: string, args: readonly string[], signal: AbortSignal): Promise<void> {
  const when = `${HISTORY_ENDS_AT / 1000} +0000`;
  const person = { NAME: "Operator", EMAIL: "operator@acme.example", DATE: when };
  const names = Object.entries(person).flatMap(([what, value]) =>
    ["AUTHOR", "COMMITTER"].map((who) => [`GIT_${who}_${what}`, value]),
  );
  const env = {
    ...Object.fromEntries(names),
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_DIR: undefined,
    GIT_WORK_TREE: undefined,
    GIT_INDEX_FILE: undefined,
  };
  await runProgram("git", ["-c", "gc.auto=0", ...args], { cwd, env, signal });
}

async function writeTree(root: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
}

const UNCOMMITTED = "# longer opening hours, not committed yet\n";
const UNTRACKED = { "lib/acme/opening_hours.rb": "OPENS = 9 # a file that git does not know\n" };

/** The files alone, as in an installation that was unpacked or copied. */
export async function buildPlainCode(codeRoot: string, version: string): Promise<void> {
  await writeTree(codeRoot, { ...upstreamFiles(version), ...UNTRACKED });
}

/** Makes the checkout: upstream's history, one commit, one edit and one new file of the operator's own. */
export async function buildCode(
  { codeRoot, origin }: CodeFolders,
  version: string,
  signal: AbortSignal,
): Promise<void> {
  await mkdir(codeRoot, { recursive: true });
  const run = async (...args: string[]) => await git(codeRoot, args, signal);
  await run("init", "--quiet", "--initial-branch=master");
  await writeTree(codeRoot, upstreamFiles(version));
  await run("add", "--all");
  await run("commit", "--quiet", "--message", `Release ${version}`);
  await run("clone", "--quiet", "--bare", codeRoot, origin);
  await run("remote", "add", "origin", origin);
  await run("fetch", "--quiet", "origin");
  await run("branch", "--quiet", "--set-upstream-to=origin/master");
  await appendFile(join(codeRoot, EDITED_FILE), "export const again = (name) => `Good to see you again, ${name}`;\n");
  await run("commit", "--quiet", "--all", "--message", LOCAL_COMMIT);
  await appendFile(join(codeRoot, "app/models/inbox.rb"), UNCOMMITTED);
  await writeTree(codeRoot, UNTRACKED);
}

/** What an operator does to the code on a day: edits a file again and adds another. */
export async function editCode(codeRoot: string, mark: string): Promise<void> {
  await appendFile(join(codeRoot, "app/models/inbox.rb"), `# changed on day ${mark}\n`);
  await writeTree(codeRoot, { [`lib/acme/day_${mark}.rb`]: `# added on day ${mark}\n` });
}

/** Removes the application's folder, code, uploads and configuration alike. */
export async function removeCode(codeRoot: string): Promise<void> {
  // Renamed first, so that nobody meets a half-removed installation.
  const going = `${codeRoot}.going`;
  await rename(codeRoot, going);
  await rm(going, { recursive: true, force: true });
}
