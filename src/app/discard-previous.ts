/** What restores put aside for a rollback: found and dropped, by the configuration or without one by what this machine remembers. */
import { isDeepStrictEqual } from "node:util";
import { Failure } from "../base/errors.ts";
import type { Place } from "../job/plan-whole.ts";
import {
  isUnfinished,
  type KeptRestore,
  listRestores,
  refuseUnfinished,
  removeRestoreFolder,
} from "../job/restore-journals.ts";
import { listDiscardable } from "../job/restore-live.ts";
import { forgetWhole, planForget } from "../job/rollback-whole.ts";
import type { ServerAddress } from "../postgres/address.ts";
import type { KeptDatabase } from "../postgres/kept-databases.ts";
import { describeClients } from "../postgres/other-sessions.ts";
import { dropDatabase } from "../postgres/swap.ts";
import { connectBeside } from "../postgres/target.ts";
import { loadConfig } from "./config.ts";
import { databaseNames, openInstallation } from "./installation.ts";
import { lockHome, type RememberedRestore, restoreHomes } from "./restore-home.ts";
import { openRemembered } from "./restore-whole.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface DiscardableDatabase extends KeptDatabase {
  /** Of the database that it lies beside. */
  readonly beside: ServerAddress;
}

export interface Discardable {
  /** The newest first. */
  readonly databases: readonly DiscardableDatabase[];
  /** That are through or undone. */
  readonly restores: readonly RememberedRestore[];
  /** Folders of restores whose journal cannot be read. */
  readonly unreadable: readonly string[];
}

/**
 * Changes nothing.
 * @throws Failure `restore/unfinished` where a restore is; `config/missing` where neither a configuration nor a restore says which
 * place is meant.
 */
export async function findDiscardable(globals: Globals, s: Surroundings): Promise<Discardable> {
  const restores: RememberedRestore[] = [];
  const unreadable: string[] = [];
  for (const { loaded, home } of await restoreHomes(globals, s)) {
    const found = await listRestores(home.path);
    if (found.restores.some(({ journal }) => isUnfinished(journal.value))) await refuseUnfinished(home.path);
    restores.push(...found.restores.map((kept) => ({ loaded, home, kept })));
    unreadable.push(...found.unreadable.map(({ folder }) => folder));
  }
  const databases: DiscardableDatabase[] = [];
  const places = await placesOf(globals, restores, s);
  const isInUse = ({ name, beside }: DiscardableDatabase) =>
    places.some(({ address, installation }) => isSameServer(address, beside) && databaseNames(installation).has(name));
  for (const { address: beside } of places) {
    databases.push(...(await listDiscardable(beside, s)).map((one) => ({ ...one, beside })));
  }
  return { databases: databases.filter((one) => !isInUse(one)), restores, unreadable };
}

function isSameServer(a: ServerAddress, b: ServerAddress): boolean {
  return a.host === b.host && a.port === b.port;
}

/** Where databases may lie beside: the configured installation's own, else those of the places that were restored into. */
async function placesOf(
  globals: Globals,
  restores: readonly RememberedRestore[],
  s: Surroundings,
): Promise<Pick<Place, "address" | "installation">[]> {
  const remembered = restores.filter(({ loaded }) => loaded === undefined);
  if (remembered.length === 0) {
    const { config } = await loadConfig(globals, s);
    const found = await openInstallation(config.installation, s, config.database);
    return [{ installation: found.installation, address: found.address() }];
  }
  const found = new Map<string, Place>();
  for (const restore of remembered) {
    const { place } = await openRemembered(globals, restore, s);
    const { host, port, database } = place.address;
    found.set(JSON.stringify([host, port, database]), place);
  }
  return [...found.values()];
}

/**
 * Whoever is connected to a database that was put aside needs it still. Changes nothing.
 * @throws Failure `target/unsuitable` that says who.
 */
export async function refuseUsed(databases: readonly DiscardableDatabase[], { signal }: Surroundings): Promise<void> {
  for (const { name, beside } of databases) {
    await using connection = await connectBeside(beside, { signal });
    const who = await describeClients(connection, name);
    if (who.length === 0) continue;
    throw new Failure("target/unsuitable", `database '${name}' is in use: ${who.join(", ")}`, {
      hint: "Nothing was dropped. Stop that first. Or is the database to stay? Give it a name of its own (ALTER DATABASE … RENAME TO …): then it is left out.",
    });
  }
}

/**
 * Drops what was shown. Nobody else works on the installation meanwhile, and everything is looked at before the first database goes.
 * @throws Failure `run/locked`, `restore/unfinished` where somebody has begun one since it was shown, and what a look says: nothing was
 * dropped then; or when something is in use or cannot be dropped: what was dropped before stays so.
 */
export async function discard(globals: Globals, shown: Discardable, s: Surroundings): Promise<void> {
  await using locks = new AsyncDisposableStack();
  for (const { loaded, home } of await restoreHomes(globals, s)) locks.use(await lockHome(loaded, home, s));
  const now = await findDiscardable(globals, s);
  const isShown = ({ name, beside }: DiscardableDatabase) =>
    shown.databases.some((one) => one.name === name && isDeepStrictEqual(one.beside, beside));
  const restores: { kept: KeptRestore; place: Place }[] = [];
  for (const restore of now.restores) {
    if (!shown.restores.some(({ kept }) => kept.id === restore.kept.id)) continue;
    const { place } = await openRemembered(globals, restore, s);
    await planForget(restore.kept, { place, ...s });
    restores.push({ kept: restore.kept, place });
  }
  const databases = now.databases.filter(isShown);
  await refuseUsed(databases, s);
  for (const { name, chatkeep, beside } of databases) {
    const isOwn = chatkeep === "restoring";
    await dropDatabase(beside, name, { isOwn, endsSessions: isOwn, signal: s.signal });
  }
  for (const { kept, place } of restores) await forgetWhole(kept, { place, ...s });
  for (const folder of shown.unreadable) await removeRestoreFolder(folder);
}

/** @param name As somebody named it; undefined: all that there is is meant. */
export function nothingToDiscard(name: string | undefined, databases: readonly KeptDatabase[]): Failure {
  const names = databases.map((one) => one.name).join(", ");
  return new Failure(
    "target/unsuitable",
    name === undefined ? "no restore put a database aside" : `'${name}' was put aside by no restore`,
    { hint: names === "" ? "There is nothing to drop." : `These are kept: ${names}.` },
  );
}
