/** `export` and `import`: one restore point as one encrypted file, and back; and its database as pg_dump's. */
import { rm } from "node:fs/promises";
import { resolve } from "node:path";
import { Failure, isFailure } from "../base/errors.ts";
import { exportPoint } from "../job/export.ts";
import { exportDatabase } from "../job/export-database.ts";
import { exportPlain } from "../job/export-plain.ts";
import { importFile } from "../job/import.ts";
import type { PlainExportSummary } from "../job/plain-summaries.ts";
import type { DatabaseExportSummary, DumpFormat, ExportSummary, ImportSummary } from "../job/summaries.ts";
import { checkNewPassword, findKeyOf } from "../repo/keys.ts";
import { openRepository } from "../repo/repository.ts";
import { openTarStore } from "../store/tar-store.ts";
import { choosePassword } from "./init.ts";
import { writeNew } from "./new-file.ts";
import { readNewPassword } from "./new-password.ts";
import { readPassword, readSecretFile } from "./secrets.ts";
import { openPoint, readingPoint } from "./opened-point.ts";
import { openChosenRepository, type OpenedRepository } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface ExportFlags {
  point: string;
  file: string;
  /** The file's own password; where it is not there, one is made and written to it. */
  passwordFile: string | undefined;
}

export async function runExport(globals: Globals, flags: ExportFlags, s: Surroundings): Promise<ExportSummary> {
  const password = await passwordFor(flags, s);
  const opened = await openPoint(globals, flags.point, s);
  await refuseKnownPassword(opened, password.value, s);
  const { path } = password;
  try {
    const summary = await readingPoint(opened, s, async () => {
      return await exportPoint({
        from: opened,
        point: opened.reader.point,
        file: resolve(s.cwd, flags.file),
        password: password.value,
        beforeWriting: async () => {
          // A file without its password is lost.
          if (path !== undefined) await writeNew(path, `${password.value}\n`);
        },
        clock: s.clock,
        progress: s.progress,
        signal: s.signal,
      });
    });
    return { ...summary, passwordFile: path ?? null };
  } catch (error) {
    // It was made for an export that another password had begun.
    if (path !== undefined && isFailure(error, "repo/wrong-password")) await rm(path, { force: true });
    throw error;
  }
}

/** The point's database alone, as pg_dump would have written it: not encrypted, so it takes no password. */
export async function runDatabaseExport(
  globals: Globals,
  flags: { point: string; file: string; format: DumpFormat },
  s: Surroundings,
): Promise<DatabaseExportSummary> {
  const opened = await openPoint(globals, flags.point, s);
  return await readingPoint(opened, s, async () => {
    return await exportDatabase(opened.reader, {
      repositoryName: opened.name,
      file: resolve(s.cwd, flags.file),
      format: flags.format,
      clock: s.clock,
      progress: s.progress,
      signal: s.signal,
    });
  });
}

/** The point as plain files. */
export async function runPlainExport(
  globals: Globals,
  flags: { point: string; folder: string },
  s: Surroundings,
): Promise<PlainExportSummary> {
  const opened = await openPoint(globals, flags.point, s);
  return await readingPoint(opened, s, async () => {
    return await exportPlain(opened.reader, {
      repositoryName: opened.name,
      folder: resolve(s.cwd, flags.folder),
      clock: s.clock,
      progress: s.progress,
      signal: s.signal,
    });
  });
}

interface ExportPassword {
  value: string;
  /** Where one that was made here is to be kept. */
  path: string | undefined;
}

async function passwordFor({ passwordFile }: ExportFlags, s: Surroundings): Promise<ExportPassword> {
  if (passwordFile !== undefined) {
    const { value, path, isNew } = await choosePassword(passwordFile, s);
    checkNewPassword(value);
    return { value, path: isNew ? path : undefined };
  }
  if (s.person === undefined) {
    throw new Failure("usage/invalid", "the exported file needs a password of its own", {
      hint: "Name a file with it: --password-file FILE. If that is not there, a password is made and written to it.",
    });
  }
  const { value } = await readNewPassword({}, s);
  checkNewPassword(value);
  return { value, path: undefined };
}

/** Whoever gets the file and its password must not hold the repository's too. */
async function refuseKnownPassword({ repository, name }: OpenedRepository, password: string, s: Surroundings) {
  if ((await findKeyOf(repository, password, { signal: s.signal })) === undefined) return;
  throw new Failure("usage/invalid", `that password opens repository '${name}' too`, {
    hint: "Whoever gets the file would have the whole repository: name a file that is not there in --password-file, and a password is made.",
  });
}

export interface ImportFlags {
  file: string;
  /** A configured repository, or a location; by default the one that other verbs use. */
  to: string | undefined;
  passwordFile: string | undefined;
}

export async function runImport(globals: Globals, flags: ImportFlags, s: Surroundings): Promise<ImportSummary> {
  const path = resolve(s.cwd, flags.file);
  const store = openTarStore(path);
  try {
    // What is no such file is told before a password is asked for.
    await store.stat({ kind: "config", name: "" }, s);
    const password = await filePassword(path, flags, s);
    const [repository, to] = await Promise.all([
      openRepository(store, { password, signal: s.signal }),
      openChosenRepository(flags.to === undefined ? globals : { ...globals, repository: flags.to }, s),
    ]);
    return await importFile({
      from: { repository, name: path },
      to,
      installationId: to.config?.installation.id,
      clock: s.clock,
      progress: s.progress,
      signal: s.signal,
    });
  } finally {
    await store.close();
  }
}

async function filePassword(path: string, { passwordFile }: ImportFlags, s: Surroundings): Promise<string> {
  if (passwordFile !== undefined) return await readSecretFile(passwordFile, "the file's password", s);
  if (Object.keys(s.env).some((name) => /^(CHATKEEP|RESTIC)_PASSWORD/.test(name)))
    return await readPassword(undefined, s);
  if (s.person === undefined) {
    throw new Failure("usage/invalid", `the password of '${path}' is not given`, {
      hint: "Name a file with it: --password-file FILE. It is not the repository's password, but the one that its export had.",
    });
  }
  const typed = await s.person.secret(`Password of '${path}':`);
  s.hide([typed]);
  return typed;
}
