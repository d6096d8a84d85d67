/** The Docker Engine's HTTP API: where it listens, and what is said when it does not answer, refuses, or may not be asked. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { chmod, copyFile, mkdir, readFile } from "node:fs/promises";
import { createServer as createHttp } from "node:http";
import { createServer as createHttps, type ServerOptions } from "node:https";
import { createServer as createPlain, type AddressInfo } from "node:net";
import { resolve } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { engineAddress, EngineApi, openEngine, type SilentEngine } from "../../src/system/engine-api.ts";
import { makeAuthority } from "../harness/certificates.ts";
import { runBoundByModes } from "../harness/namespace.ts";
import { startStandInEngine } from "../harness/stand-in-engine.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const { signal } = new AbortController();

test("an engine is where DOCKER_HOST says, as Docker's own programs take it, else in the usual place", () => {
  const usual = { kind: "socket", path: "/var/run/docker.sock" };
  assert.deepEqual(engineAddress({}), usual);
  assert.deepEqual(engineAddress({ DOCKER_HOST: "" }), usual);
  assert.deepEqual(engineAddress({}, (path) => `/root-of-a-test${path}`).kind, "socket");
  assert.deepEqual(engineAddress({ DOCKER_HOST: "unix:///run/user/1000/docker.sock" }), {
    kind: "socket",
    path: "/run/user/1000/docker.sock",
  });
  assert.deepEqual(engineAddress({ DOCKER_HOST: "tcp://10.0.0.5:2375" }), {
    kind: "tcp",
    host: "10.0.0.5",
    port: 2375,
  });
  assert.deepEqual(engineAddress({ DOCKER_HOST: "tcp://docker", DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: "/certs" }), {
    kind: "tcp",
    host: "docker",
    port: 2376,
    certificates: "/certs",
  });
  assert.deepEqual(engineAddress({ DOCKER_HOST: "https://[::1]:99", HOME: "/home/ann" }), {
    kind: "tcp",
    host: "::1",
    port: 99,
    certificates: "/home/ann/.docker",
  });
  for (const named of [
    "ssh://ann@host",
    "npipe:////./pipe/docker_engine",
    "unix://relative",
    "docker.sock",
    "tcp://",
  ]) {
    assert.throws(
      () => engineAddress({ DOCKER_HOST: named }),
      (error) => isFailure(error, "config/invalid"),
      named,
    );
  }
});

function why(opened: EngineApi | SilentEngine): string {
  assert(!(opened instanceof EngineApi));
  return opened.why;
}

test("no socket, nobody behind it, no engine behind it: each is said", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("docker.sock");
  const open = async () => why(await openEngine({ kind: "socket", path }, { signal }));
  assert.equal(await open(), `no Docker Engine listens at ${path}`);
  const other = createPlain((socket) => socket.end("hello\n"));
  other.listen(path);
  await once(other, "listening");
  assert.match(await open(), new RegExp(`^the Docker Engine at ${path} does not answer: `));
  other.close();
});

/** A file of ours, to be imported by a script. */
function source(path: string): string {
  return JSON.stringify(resolve(import.meta.dirname, "../../src", path));
}

test("a socket that this user may not use: how to be allowed is said, also where no other Chatwoot is found", async () => {
  await using engine = await startStandInEngine({ containers: [] });
  await using empty = await temporaryFolder();
  await chmod(engine.socket, 0o000);
  const script = `import { openEngine } from ${source("system/engine-api.ts")};
    import { findInstallation } from ${source("installation/find.ts")};
    const { signal } = new AbortController();
    const socket = ${JSON.stringify(engine.socket)};
    const opened = await openEngine({ kind: "socket", path: socket }, { signal });
    const options = { signal, env: { DOCKER_HOST: "unix://" + socket }, filesystemRoot: ${JSON.stringify(empty.path)} };
    const failure = await findInstallation({}, options).catch((error) => error);
    const meant = await findInstallation({ kind: "docker-compose" }, options).catch((error) => error);
    console.log(JSON.stringify({ opened, code: failure.code, hint: failure.hint, meant: meant.code }));`;
  const { stdout, stderr } = await runBoundByModes(process.execPath, ["--input-type=module", "--eval", script]);
  const { opened, code, hint, meant } = JSON.parse(stdout || stderr) as { opened: SilentEngine } & Record<
    string,
    string
  >;
  assert.equal(opened.isDenied, true);
  assert.match(opened.why, /may not use the Docker Engine's socket .*docker\.sock$/);
  assert.match(opened.remedy, /as root, or add the user .*groups docker/);
  assert.equal(code, "installation/not-found");
  assert.match(hint ?? "", /^It may be in a container, but this user may not use .*Run Chatkeep as root, .*Looked for/);
  assert.equal(meant, "source/unreadable");
});

test("what the engine refuses is said in its words; what it does not know is nothing", async () => {
  const server = createHttp((request, response) => {
    const isKnown = request.url?.startsWith("/known") === true;
    response.writeHead(isKnown ? 500 : 404).end(JSON.stringify({ message: "the disk is full" }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const engine = new EngineApi({ kind: "tcp", host: "127.0.0.1", port }, { signal });
  try {
    assert.equal(await engine.ask("/unknown"), undefined);
    assert.equal(await engine.readFile("gone", "/app/config/app.yml"), undefined);
    assert.equal(await engine.hasPath("gone", "/app/enterprise"), false);
    await assert.rejects(engine.ask("/known?all=1"), (error) => {
      assert(isFailure(error, "program/failed"));
      assert.equal(error.message, "the Docker Engine refused /known with status 500");
      return error.hint === "It said: the disk is full";
    });
    await assert.rejects(engine.act("gone", "stop"), (error) => isFailure(error, "program/failed"));
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("an engine that wants a certificate gets the one of DOCKER_CERT_PATH, and is not trusted without its own", async () => {
  await using folder = await temporaryFolder();
  const authority = await makeAuthority(folder.path, "ca");
  const [ofServer, ofClient] = [await authority.sign("server", ["localhost"]), await authority.sign("client")];
  const [ca, cert, key] = await Promise.all(
    [authority.certificate, ofServer.certificate, ofServer.key].map((path) => readFile(path)),
  );
  const server = createHttps(
    { ca, cert, key, requestCert: true, rejectUnauthorized: true } as ServerOptions,
    (_, response) => {
      response.writeHead(200).end("{}");
    },
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const env = { DOCKER_HOST: `tcp://localhost:${port}`, DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: folder.at("certs") };
  try {
    const address = engineAddress(env);
    assert.match(why(await openEngine(address, { signal })), /does not answer: ENOENT/);
    await mkdir(folder.at("certs"));
    await copyFile(ofClient.certificate, folder.at("certs/cert.pem"));
    await copyFile(ofClient.key, folder.at("certs/key.pem"));
    await copyFile(ofClient.certificate, folder.at("certs/ca.pem"));
    assert.match(why(await openEngine(address, { signal })), /does not answer: .*certificate/);
    await copyFile(authority.certificate, folder.at("certs/ca.pem"));
    assert.ok((await openEngine(address, { signal })) instanceof EngineApi);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
