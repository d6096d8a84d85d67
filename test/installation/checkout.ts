/** Makes git checkouts for tests: nobody's configuration, fixed author and time. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { mustRun } from "../harness/run.ts";
import { readFolder } from "../harness/tree.ts";

const ENV = {
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_AUTHOR_NAME: "Ada",
  GIT_AUTHOR_EMAIL: "ada@example.com",
  GIT_COMMITTER_NAME: "Ada",
  GIT_COMMITTER_EMAIL: "ada@example.com",
  GIT_AUTHOR_DATE: "2026-01-02T03:04:05Z",
  GIT_COMMITTER_DATE: "2026-01-02T03:04:05Z",
};

export async function git(folder: string, ...args: string[]): Promise<string> {
  const options = { cwd: folder, env: ENV };
  const program = ["-c", "protocol.file.allow=always", "-c", "init.defaultBranch=master", "-c", "safe.directory=*"];
  return (await mustRun("git", [...program, ...args], options)).stdout.trimEnd();
}

export async function write(folder: string, path: string, text: string | Uint8Array): Promise<void> {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), text);
}

export async function commit(folder: string, message: string): Promise<string> {
  await git(folder, "add", "--all");
  await git(folder, "commit", "--quiet", "--message", message);
  return await git(folder, "rev-parse", "HEAD");
}

/** A repository that stands for upstream's, with two commits. */
export async function makeUpstream(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await git(folder, "init", "--quiet");
  await write(folder, "README.md", "# Chatwoot\n");
  await write(folder, "config/app.yml", "shared: &shared\n  version: '4.15.1'\n\nproduction:\n  <<: *shared\n");
  await write(folder, "app/models/message.rb", "class Message\nend\n");
  await write(folder, "logo.bin", Buffer.from([0, 1, 2, 255, 254, 0, 10, 13]));
  await write(folder, ".gitignore", "/storage\n/.env\n");
  await commit(folder, "first");
  await write(folder, "README.md", "# Chatwoot\n\nLive chat.\n");
  await commit(folder, "second");
}

export const ORIGIN = "https://github.com/chatwoot/chatwoot.git";

/** A clone of it whose origin is an address on the network. */
export async function makeCheckout(upstream: string, folder: string): Promise<void> {
  await git(dirname(folder), "clone", "--quiet", upstream, folder);
  await git(folder, "remote", "set-url", "origin", ORIGIN);
}

/** What git says of a checkout of Chatwoot, and what lies in it but for uploads, environment and what is made anew. */
export interface Checkout {
  head: string;
  branch: string;
  branches: string;
  status: string;
  edited: string;
  staged: string;
  history: string;
  files: Record<string, string>;
}

export async function readCheckout(root: string): Promise<Checkout> {
  // So that git's memory of times is fresh.
  await git(root, "status");
  return {
    head: await git(root, "rev-parse", "HEAD"),
    branch: await git(root, "symbolic-ref", "HEAD"),
    branches: await git(root, "for-each-ref", "refs/heads", "refs/tags"),
    status: await git(root, "status", "--porcelain=v2"),
    edited: await git(root, "diff", "--binary"),
    staged: await git(root, "diff", "--cached", "--binary"),
    history: await git(root, "log", "--format=%H %s"),
    files: await readFolder(root, { except: (path) => /^(?:\.git|\.env|storage|tmp|log)$/.test(path) }),
  };
}
