import assert from "node:assert/strict";
import { test } from "node:test";
import { machineAt } from "../../src/installation/places.ts";
import { certificatesIn } from "../../src/installation/system-files.ts";
import { parseUnit, readUnits } from "../../src/installation/units.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { write } from "./checkout.ts";

test("a unit's settings are read with comments, continued lines and quotes", async () => {
  await using folder = await temporaryFolder();
  const text = `[Service]
# Environment=A=commented
; Environment=B=commented
Environment="C=two words" D=plain 'E=it is \\'quoted\\'' F=a\\ b
Environment=G=1 \\
  H=2
EnvironmentFile=-/etc/default/chatwoot
WorkingDirectory=/srv/chatwoot
`;
  await write(folder.path, "etc/systemd/system/chatwoot-web.1.service", text);
  await write(
    folder.path,
    "etc/systemd/system/chatwoot-web.1.service.d/own.conf",
    "[Service]\nEnvironment=D=changed\n",
  );
  // Chatkeep's own, while a restore is unfinished.
  const holding = "etc/systemd/system/chatwoot-web.1.service.d/chatkeep-unfinished-restore.conf";
  await write(folder.path, holding, "[Unit]\nConditionPathExists=!/x\n[Service]\nEnvironment=D=held\n");
  await write(folder.path, "etc/systemd/system/nochatwoot.service", "Environment=X=1\n");
  const units = await readUnits(machineAt(folder.path));
  assert.deepEqual(Object.fromEntries(units.environment), {
    C: "two words",
    D: "changed",
    E: "it is 'quoted'",
    F: "a b",
    G: "1",
    H: "2",
  });
  assert.equal(units.workingFolder, folder.at("srv/chatwoot"));
  assert.deepEqual(units.environmentFiles, ["/etc/default/chatwoot"]);
  assert.equal(units.files.length, 2);
  assert.deepEqual(parseUnit("[Unit]\nno setting\nA = b\n"), [{ name: "A", value: "b" }]);
});

test("a machine without units has none", async () => {
  await using folder = await temporaryFolder();
  const units = await readUnits(machineAt(folder.path));
  assert.deepEqual([units.files, units.environment.size, units.workingFolder], [[], 0, undefined]);
});

test("certificates are read from nginx's settings", () => {
  const text = `server {
    ssl_certificate "/etc/ssl/a.pem";
    ssl_certificate_key /etc/ssl/a.key ;
    ssl_dhparam /etc/ssl/dhparam;
    # ssl_certificate /etc/ssl/old.pem;
    ssl_certificate relative.pem;
  }`;
  assert.deepEqual(certificatesIn(text), ["/etc/ssl/a.pem", "/etc/ssl/a.key", "/etc/ssl/dhparam"]);
});
