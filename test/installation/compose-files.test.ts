/** Which files of this machine belong to a Chatwoot that Docker Compose runs: what its Compose files name in one way or another. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { test } from "node:test";
import { findInstallation } from "../../src/installation/find.ts";
import { startStandInEngine } from "../harness/stand-in-engine.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { IMAGES, production } from "./compose-shapes.ts";

const { signal } = new AbortController();
const STORAGE = "/var/lib/docker/volumes/chatwoot_storage_data/_data";

/** Puts the files into the project's folder and looks: which of them are saved, and what a finding says. */
async function findIn(files: Readonly<Record<string, string>>) {
  await using machine = await temporaryFolder();
  const folder = machine.at("opt/chatwoot");
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(`${folder}/${name}`), { recursive: true });
    await writeFile(`${folder}/${name}`, text);
  }
  await mkdir(machine.at(STORAGE.slice(1)), { recursive: true });
  const containers = production(STORAGE, { configFiles: "/opt/chatwoot/main.yaml" });
  await using engine = await startStandInEngine({ containers, images: IMAGES });
  const env = { DOCKER_HOST: engine.host };
  const { installation, findings } = await findInstallation({}, { signal, env, filesystemRoot: machine.path });
  return {
    saved: [installation.envFile ?? "", ...installation.systemFiles]
      .map((path) => path.slice(folder.length + 1))
      .toSorted(),
    message: (kind: string) => findings.find((one) => one.kind === kind)?.message ?? "",
  };
}

test("what Compose files include and extend is saved too, with its environment files, and what is not here is told", async () => {
  const files = {
    "main.yaml": `include:
  - chat/desk.yaml
  - { path: [tools/a.yaml, tools/b.yaml], project_directory: tools, env_file: tools/values.env }
  - oci://registry.example.com/shared:1
  - gone/away.yaml
services:
  postgres: { extends: { file: base/servers.yaml, service: database } }
`,
    // Round in a circle, which has to end.
    "chat/desk.yaml": `include: [../main.yaml]
services:
  rails:
    extends: { file: ../base/app.yaml, service: app }
    env_file: web.env
    environment: { SECRET_KEY_BASE: of-its-own }
`,
    "chat/.env": "TAG=v4.15.1\n",
    "chat/web.env": "FRONTEND_URL=https://later.example\n",
    "base/app.yaml":
      "services:\n  app: { extends: common }\n  common: { extends: app, env_file: [{ path: app.env }] }\n",
    "base/app.env": "FRONTEND_URL=https://earlier.example\nSECRET_KEY_BASE=of-a-file\n",
    "base/servers.yaml": "services: { database: { env_file: not-asked-for.env } }\n",
    "tools/a.yaml": "services: {}\n",
    "tools/b.yaml": "services: {}\n",
    "tools/values.env": "PORT=1\n",
  };
  const { saved, message } = await findIn(files);
  assert.deepEqual(saved, Object.keys(files).toSorted());
  assert.match(
    message("compose-file-missing"),
    /2 files .*: oci:\/\/registry\.example\.com\/shared:1, \/opt\/chatwoot\/gone\/away\.yaml/,
  );
  // The service's own file counts before that of what it extends, and its own value before any file.
  assert.match(message("environment-not-in-force"), /another FRONTEND_URL than .*\/chat\/web\.env has$/);
});

test("paths with ${…} are those that Compose fills in from the project's .env; what only a shell knew is told as written", async () => {
  const files = {
    "main.yaml": `include:
  - { path: "\${TOOLS:-tools}/a.yaml", env_file: tools/values.env }
services:
  rails:
    extends: { file: "base/\${STAGE}.yaml", service: app }
    env_file: ["\${STAGE}.env", "\${FROM_A_SHELL}.env"]
`,
    ".env": "STAGE=live\n",
    "live.env": "FRONTEND_URL=https://chat.example.com\n",
    "base/live.yaml": "services: { app: { env_file: app.env } }\n",
    "base/app.env": "PORT=1\n",
    // The project's own value counts before that which comes with what it includes.
    "tools/a.yaml": 'services: { rails: { env_file: ["${STAGE}-${MORE}.env"] } }\n',
    "tools/values.env": "STAGE=other\nMORE=b\n",
    "tools/live-b.env": "PORT=2\n",
  };
  const { saved, message } = await findIn(files);
  assert.deepEqual(saved, Object.keys(files).toSorted());
  assert.match(message("compose-file-missing"), /^1 file .*: \/opt\/chatwoot\/\$\{FROM_A_SHELL\}\.env$/);
});
