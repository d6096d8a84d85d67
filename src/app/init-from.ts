/** `init --from`: on an empty machine, with the kit's password, the configuration comes back from the newest point. */
import { dirname, join, resolve } from "node:path";
import { parseDocument, isMap, isSeq } from "yaml";
import { Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { PointReader } from "../job/point-reader.ts";
import { listPoints } from "../job/points.ts";
import type { InitSummary } from "../job/summaries.ts";
import { OWN_CONFIG } from "../point/layout.ts";
import { openRepository } from "../repo/repository.ts";
import { openStore } from "../store/open-store.ts";
import { withoutLogin } from "./kit.ts";
import { writeNew } from "./new-file.ts";
import { absoluteLocation } from "./repository-place.ts";
import { readPassword, readSecretFile } from "./secrets.ts";
import type { Surroundings } from "./surroundings.ts";

export async function restoreConfig(
  path: string,
  from: string,
  passwordFile: string | undefined,
  s: Surroundings,
): Promise<InitSummary> {
  if (from.startsWith("export:")) {
    throw new Failure(
      "usage/invalid",
      "an exported file cannot be a machine's repository: nothing can be written to it",
      {
        hint: `Restore from it with '--repository ${from}', or make a repository with 'chatkeep init' and 'chatkeep import' the file into it.`,
      },
    );
  }
  const location = absoluteLocation(from, s);
  const password =
    passwordFile === undefined
      ? await readPassword(undefined, s)
      : await readSecretFile(passwordFile, "the repository's password", s);
  const store = await openStore(location, { env: s.env });
  s.atEnd?.(async () => await store.close());
  const repository = await openRepository(store, { password, signal: s.signal });
  const { points } = await listPoints(repository, { signal: s.signal });
  const [newest] = points;
  if (newest === undefined) {
    throw new Failure("point/not-found", `the repository at '${location}' holds no restore point`, {
      hint: "There is no configuration to read back: use 'chatkeep init' without --from.",
    });
  }
  const installations = new Set(points.map((point) => point.installationId));
  const text = await new PointReader(repository, newest, { signal: s.signal })
    .readText(`config/${OWN_CONFIG}`)
    .catch((error: unknown) => {
      if (!isFailure(error, "point/invalid")) throw error;
      throw new Failure("point/invalid", "the newest restore point holds no configuration of Chatkeep", {
        hint: "'chatkeep restore' with --repository LOCATION needs none.",
        cause: error,
      });
    });
  const ownPassword =
    passwordFile === undefined ? join(dirname(path), "chatkeep.password") : resolve(s.cwd, passwordFile);
  await writeNew(path, relocate(text, location, ownPassword));
  if (passwordFile === undefined) await writeNew(ownPassword, `${password}\n`);
  const findings: Finding[] = [];
  if (installations.size > 1) {
    findings.push({
      kind: "several-installations",
      level: "note",
      message: `the repository holds ${installations.size} installations; the configuration is that of '${newest.snapshot.hostname ?? ""}'`,
      hint: "'chatkeep list --all' shows the points of every one.",
    });
  }
  return {
    type: "summary",
    verb: "init",
    config: path,
    repository: location,
    created: false,
    files: [path, ...(passwordFile === undefined ? [ownPassword] : [])],
    kit: "",
    kitPage: "",
    notes: [],
    findings,
  };
}

/**
 * The repository that was opened here comes first, with its password where we put it; the rest stays as it was. It is the
 * one of the saved configuration that lies there, or else the first, which lies elsewhere now.
 */
function relocate(text: string, location: string, passwordFile: string): string {
  const document = parseDocument(text);
  const repositories = document.get("repositories");
  const items = isSeq(repositories) ? repositories.items : [];
  const found = items.findIndex((item) => isMap(item) && samePlace(String(item.get("location")), location));
  const [own] = items.splice(Math.max(0, found), 1);
  if (!isMap(own)) {
    throw new Failure("point/invalid", "the saved configuration names no repository", {
      hint: "'chatkeep restore' with --repository LOCATION needs none.",
    });
  }
  items.unshift(own);
  own.set("location", location);
  for (const key of ["password", "password-command"]) own.delete(key);
  // Of the place where it lay.
  if (!/^(s3|azure):/.test(location)) own.delete("immutable");
  own.set("password-file", passwordFile);
  return document.toString();
}

/** Whatever user and password stand in an address, and however it ends. */
function samePlace(one: string, other: string): boolean {
  const [a, b] = [one, other].map((location) =>
    withoutLogin(location)
      .replace(/^local:/, "")
      .replace(/\/+$/, ""),
  );
  return a === b;
}
