import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { test } from "node:test";
import { cannotMount, runWithMounts } from "../harness/namespace.ts";
import { temporaryFolder } from "../harness/temporary.ts";

/** A disk of 64 KiB that is full but for what the file has. */
const FULL = `
mount -t tmpfs -o size=64k tmpfs "$1"; cd "$1"
printf 'SECRET=old\\n' > env; stat -c %i env > "$2/before"
cat /dev/zero > others 2> /dev/null || true
"$3" --input-type=module --eval "$4" > "$2/full"; cp env "$2/kept"
rm others
"$3" --input-type=module --eval "$4" > "$2/again"; cp env "$2/written"; stat -c %i env > "$2/after"`;

test("a file that is written over in its place is as it was where the disk is full, and is named", async (t) => {
  const why = await cannotMount();
  if (why !== undefined) return t.skip(why);
  await using folder = await temporaryFolder();
  const [disk, out] = [folder.at("disk"), folder.at("out")];
  for (const path of [disk, out]) await mkdir(path);
  const file = resolve(import.meta.dirname, "../../src/system/keep-file.ts");
  const program = `
    import { writeFileAs } from ${JSON.stringify(file)};
    const facts = { mode: 0o600, uid: 0, gid: 0, inPlace: true };
    await writeFileAs("env", Buffer.from("SECRET=new\\n".repeat(1000)), facts).catch((error) => console.log(error.code, error.path));`;
  const { status, stderr } = await runWithMounts(FULL, [disk, out, process.execPath, program]);
  assert.equal(status, 0, stderr);
  const read = async (name: string) => await readFile(folder.at("out", name), "utf8");
  assert.equal(await read("full"), "ENOSPC env\n");
  assert.equal(await read("kept"), "SECRET=old\n");
  assert.equal(await read("again"), "");
  assert.equal(await read("written"), "SECRET=new\n".repeat(1000));
  assert.equal(await read("after"), await read("before"));
});
