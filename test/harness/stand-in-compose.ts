/** `docker compose` in short, for a stand-in engine: a program that says which images it would run, and remembers what it was called with. */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import type { TestFolder } from "./temporary.ts";

export interface StandInCompose {
  /** What is to be found before everything else in `PATH`. */
  readonly path: string;
  /** Its arguments, a line for each call. */
  calls(): string[];
  /** Those calls of `up` that this was not asked for yet: a stand-in engine does then what they say. */
  newUps(): string[];
  /** Whether every call fails from now on, as on a full disk. */
  setFailing(isFailing: boolean): Promise<void>;
  /** What `config --images` says. */
  setImages(names: readonly string[]): Promise<void>;
}

/** @param images The names that the Compose files have for every service. */
export async function makeStandInCompose(folder: TestFolder, images: readonly string[]): Promise<StandInCompose> {
  const [calls, fails, names] = ["compose-calls", "compose-fails", "compose-images"].map((name) => folder.at(name));
  if (calls === undefined || fails === undefined || names === undefined) throw new Error("no folder");
  await mkdir(folder.at("compose-bin"));
  await writeFile(calls, "");
  const lines = [
    "#!/bin/sh",
    `echo "$*" >>'${calls}'`,
    `[ ! -e '${fails}' ] || { echo 'no space left' >&2; exit 1; }`,
    `case "$*" in *" config --images "*) cat '${names}';; esac`,
  ];
  await writeFile(folder.at("compose-bin/docker"), `${lines.join("\n")}\n`, { mode: 0o755 });
  const setImages = async (wanted: readonly string[]) =>
    await writeFile(names, wanted.map((name) => `${name}\n`).join(""));
  await setImages(images);
  let seen = 0;
  const readCalls = () => readFileSync(calls, "utf8").split("\n").filter(Boolean);
  return {
    path: folder.at("compose-bin"),
    calls: readCalls,
    newUps() {
      const all = readCalls();
      const fresh = all.slice(seen).filter((line) => line.includes(" up "));
      seen = all.length;
      return fresh;
    },
    async setFailing(isFailing) {
      if (isFailing) await writeFile(fails, "");
      else await rm(fails, { force: true });
    },
    setImages,
  };
}
