/** Chatkeep's own image, built by its Dockerfile on a base that is made here: no image can be pulled. It takes some minutes. */
import { copyFile, cp, realpath, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { addNode, type Docker, makeImage } from "./docker.ts";
import { mustRun } from "./run.ts";
import { temporaryFolder } from "./temporary.ts";
import { openWayOut } from "./way-out.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const BASE = "node:here";

/** As the official image of Node is: a Debian with node and npm in /usr/local. */
async function makeBase(engine: Docker, debian: string): Promise<void> {
  await using extra = await temporaryFolder();
  await addNode(extra);
  const { stdout } = await mustRun("sh", ["-c", "command -v npm"]);
  // npm-cli.js in npm's own folder, which may be anywhere.
  const npm = dirname(dirname(await realpath(stdout.trim())));
  await cp(npm, extra.at("usr/local/lib/node_modules/npm"), { recursive: true });
  const start = '#!/bin/sh\nexec node /usr/local/lib/node_modules/npm/bin/npm-cli.js "$@"\n';
  await writeFile(extra.at("usr/local/bin/npm"), start, { mode: 0o755 });
  const changes = ["ENV LD_LIBRARY_PATH=/usr/local/lib"];
  // Whom this machine's Node trusts, the build has to.
  const trusted = process.env["NODE_EXTRA_CA_CERTS"];
  if (trusted !== undefined) {
    await copyFile(trusted, extra.at("usr/local/lib/trusted.crt"));
    changes.push("ENV NODE_EXTRA_CA_CERTS=/usr/local/lib/trusted.crt");
  }
  await makeImage(engine, { name: "node:bare", folder: debian, extra: extra.path, changes });
  // Left out of the image as it is made, and apt does not make it.
  await engine.docker(["build", "--tag", BASE, "-"], "FROM node:bare\nRUN mkdir -p /var/cache/apt/archives/partial\n");
}

/** @param major Of which Debian itself has client, server and pgvector. */
export async function buildChatkeepImage(
  engine: Docker,
  { name, debian, major }: { name: string; debian: string; major: number },
): Promise<void> {
  await makeBase(engine, debian);
  await using out = await openWayOut(engine.within);
  const given = {
    BASE,
    PGDG: "no",
    CLIENTS: `${major}`,
    SERVERS: `${major}`,
    http_proxy: out.url,
    https_proxy: out.url,
  };
  const args = Object.entries(given).flatMap(([variable, value]) => ["--build-arg", `${variable}=${value}`]);
  const dockerfile = join(ROOT, "deploy/docker/Dockerfile");
  await engine.docker(["build", "--network=host", "--file", dockerfile, "--tag", name, ...args, ROOT]);
}
