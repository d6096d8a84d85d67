/** `init --add`: one more repository for an installation that is set up, with a password and a recovery kit of its own. */
import { randomUUID } from "node:crypto";
import { readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isSeq, parseDocument } from "yaml";
import { formatInstant } from "../base/clock.ts";
import { Failure, messageOf } from "../base/errors.ts";
import type { InitSummary } from "../job/summaries.ts";
import { loadConfig, type LoadedConfig } from "./config.ts";
import { choosePassword, openWith, type InitFlags } from "./init.ts";
import { kitPassword, requireNewKit, withoutLogin, writeKit } from "./kit.ts";
import { absoluteLocation } from "./repository-place.ts";
import { openAnsweringRepository } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export async function addRepository(
  globals: Globals,
  name: string,
  flags: InitFlags,
  s: Surroundings,
): Promise<InitSummary> {
  const loaded = await loadConfig({ config: globals.config }, s);
  checkName(name, loaded);
  if (flags.location === undefined) {
    throw new Failure("usage/invalid", `say where repository '${name}' is to be: --location LOCATION`, {
      hint: "Another disk, or better another building.",
    });
  }
  const location = absoluteLocation(flags.location, s);
  const folder = dirname(loaded.path);
  const kit = await requireNewKit(folder, `chatkeep-recovery-kit-${name}`);
  const first = await openAnsweringRepository({ config: globals.config }, s);
  const password = await choosePassword(flags.passwordFile ?? join(folder, `chatkeep-${name}.password`), s);
  const { id, name: installation } = loaded.config.installation;
  const { repository, created } = await openWith(
    password,
    { location, installation, isSame: true, chunkerPolynomial: first.repository.config.chunker_polynomial },
    s,
  );
  // A copy made by `cp` or `rsync` too: nothing could be copied there, and a proof of the one would count for the other.
  if (repository.config.id === first.repository.config.id) {
    throw new Failure("repo/exists", `'${location}' is repository '${first.name}' once more: both have the same id`, {
      hint: "A copy needs a repository of its own: name a place where none is.",
    });
  }
  await writeKit(kit, {
    installation: { id, name: installation },
    repositories: [
      {
        name,
        location: withoutLogin(location),
        opened: { id: repository.config.id, keyId: repository.keyId },
        password: kitPassword(password.value),
      },
    ],
    writtenAt: formatInstant(s.clock.now()),
  });
  await appendRepository(loaded.path, { name, location, "password-file": password.path });
  return {
    type: "summary",
    verb: "init",
    config: loaded.path,
    repository: location,
    created,
    files: [...(password.isNew ? [password.path] : []), kit.page, kit.text],
    kit: kit.text,
    kitPage: kit.page,
    notes: [],
    findings: [],
  };
}

function checkName(name: string, { config, path }: LoadedConfig): void {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) {
    throw new Failure("usage/invalid", `'${name}' cannot be the name of a repository`, {
      hint: "Use letters, digits, '.', '_' and '-', at most 63.",
    });
  }
  if (!config.repositories.some((known) => known.name === name)) return;
  throw new Failure("config/invalid", `'${path}' has a repository '${name}' already`, { hint: "Choose another name." });
}

/** The rest of the file stays as it was, comments too; it is replaced as a whole or not at all. */
async function appendRepository(path: string, entry: Record<string, string>): Promise<void> {
  const document = parseDocument(await readFile(path, "utf8"));
  const repositories = document.get("repositories");
  if (!isSeq(repositories)) throw new Failure("config/invalid", `'${path}' has no list of repositories`);
  repositories.add(document.createNode(entry));
  const temporary = `${path}.${randomUUID()}`;
  try {
    const { mode } = await stat(path);
    await writeFile(temporary, document.toString({ lineWidth: 0 }), { mode: mode & 0o777, flag: "wx" });
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new Failure("config/invalid", `cannot write '${path}': ${messageOf(cause)}`, {
      hint: "The repository was made. Run Chatkeep as the user that may write the file, or add the repository by hand.",
      cause,
    });
  }
}
