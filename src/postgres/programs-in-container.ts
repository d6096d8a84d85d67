/**
 * PostgreSQL's client programs out of an image of this machine, where the machine itself has none that will do: mostly the
 * image that Chatwoot's own database runs in. Each call is a container of its own, in this machine's network, which sees the
 * temporary folder and the usual folder of sockets; nothing of it stays, and nothing is pulled.
 */
import { existsSync, realpathSync } from "node:fs";
import { tmpdir } from "node:os";
import {
  type Engine,
  findEngine,
  findImageWith,
  type Image,
  isWithin,
  ownContainer,
  removeDeadContainers,
} from "../system/containers.ts";
import type { Program } from "../system/process.ts";
import { childEnvironment } from "./address.ts";
import type { ClientPrograms } from "./programs.ts";
import { versionOf } from "./program-version.ts";

/** What the official image, and those that are made of it, say of themselves. */
const MAJOR = "PG_MAJOR";

/** How a program finds its server, by the names of the variables: their values stay out of the command line. */
const VARIABLES = Object.keys(childEnvironment({ host: "", port: 0, user: "", database: "" }));
const PASSWORD = "PGPASSWORD";

/** Where servers have their sockets: the usual one, and the folders that a scratch server is made in. */
const SHARED = ["/var/run/postgresql", "/var/tmp", "/tmp"];

/** Undefined where no engine answers, or no image of that major is on this machine. */
export async function programsInContainer(
  major: number,
  { signal }: { signal: AbortSignal },
): Promise<ClientPrograms | undefined> {
  // Another machine has neither our folders nor our network.
  if (/^(?:tcp|ssh|https?):/.test(process.env["DOCKER_HOST"] ?? "")) return undefined;
  const engine = await findEngine({ signal });
  if (!("program" in engine) || engine.isRootless || (await isWithin(engine, { signal }))) return undefined;
  const image = await findImageWith(engine, `${MAJOR}=${major}`, { signal });
  if (image === undefined) return undefined;
  await removeDeadContainers(engine, { signal });
  const [pgDump, pgRestore, psql] = [
    inImage(engine, image, "pg_dump"),
    inImage(engine, image, "pg_restore"),
    inImage(engine, image, "psql"),
  ];
  const version = await versionOf(pgDump, signal);
  if (version === undefined || Number.parseInt(version, 10) !== major) return undefined;
  return { pgDump, pgRestore, psql, major, version, isNewer: false, where: `the image ${image.name}` };
}

function inImage({ program }: Engine, image: Image, name: string): Program {
  const isRoot = process.getuid?.() === 0;
  const shared = new Set([tmpdir(), ...SHARED.filter((path) => existsSync(path))].map((path) => realpathSync(path)));
  return {
    shown: `${name} of the image ${image.name}`,
    command: [
      program,
      "run",
      "--rm",
      "--interactive",
      "--pull=never",
      "--network=host",
      "--cap-drop=ALL",
      // A scratch server's socket is in a folder that is its user's alone.
      ...(isRoot ? ["--cap-add=DAC_OVERRIDE"] : []),
      "--security-opt=no-new-privileges",
      "--security-opt=label=disable",
      `--user=${process.getuid?.() ?? 0}:${process.getgid?.() ?? 0}`,
      ...ownContainer(),
      ...[...VARIABLES, PASSWORD].map((variable) => `--env=${variable}`),
      ...[...shared].map((path) => `--mount=type=bind,source=${path},target=${path}`),
      `--entrypoint=${name}`,
      image.id,
    ],
  };
}
