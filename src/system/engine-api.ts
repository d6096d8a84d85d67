/**
 * The HTTP API of a Docker Engine, which Podman speaks too: as much of it as finds containers and stops and starts them.
 * Reference: "Docker Engine API", any version; what is used here has not changed since 1.24.
 */
import { readFile, stat } from "node:fs/promises";
import type { IncomingMessage, RequestOptions } from "node:http";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { Failure, messageOf } from "../base/errors.ts";
import { systemClock } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import type { ServiceDetails } from "./container-details.ts";
import type { NoEngine } from "./containers.ts";
import { http, https } from "./late-modules.ts";

/** Where an engine listens. */
export type EngineAddress =
  | { kind: "socket"; path: string }
  | { kind: "tcp"; host: string; port: number; certificates?: string | undefined };

const USUAL_SOCKET = "/var/run/docker.sock";

/** Where an engine listens that runs as the user, and Podman, whose socket speaks as Docker's does. */
function otherSockets(env: Environment): string[] {
  const own = env["XDG_RUNTIME_DIR"] ?? "";
  return [
    ...(own.startsWith("/") ? [`${own}/docker.sock`, `${own}/podman/podman.sock`] : []),
    "/run/podman/podman.sock",
  ];
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * As {@link engineAddress}, and where no engine is named and none listens in the usual place, one of the places of others.
 * @throws Failure `config/invalid` for what is no socket and no address.
 */
export async function findEngineAddress(env: Environment, at: (path: string) => string): Promise<EngineAddress> {
  const usual = engineAddress(env, at);
  if ((env["DOCKER_HOST"] ?? "") !== "" || usual.kind !== "socket" || (await mayListen(usual.path))) return usual;
  for (const path of otherSockets(env).map((other) => at(other))) {
    if (await mayListen(path)) return { kind: "socket", path };
  }
  return usual;
}

/** True unless it is certain that nothing is there: what may not be looked at is asked, and says so. */
async function mayListen(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isSocket();
  } catch (error) {
    return !(error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR"));
  }
}

/**
 * What `DOCKER_HOST` says, with `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`, as Docker's own programs take it.
 * @param at Where a path of the machine really is.
 * @throws Failure `config/invalid` for what is no socket and no address.
 */
export function engineAddress(env: Environment, at: (path: string) => string = (path) => path): EngineAddress {
  const named = env["DOCKER_HOST"] ?? "";
  if (named === "") return { kind: "socket", path: at(USUAL_SOCKET) };
  const [, scheme = "", rest = ""] = /^(unix|tcp|https?):\/\/(.*)$/.exec(named) ?? [];
  if (scheme === "unix" && rest.startsWith("/")) return { kind: "socket", path: rest };
  const parsed = scheme === "" || scheme === "unix" ? null : URL.parse(`http://${rest}`);
  if (parsed === null || parsed.hostname === "") {
    throw new Failure("config/invalid", `DOCKER_HOST is '${named}', which Chatkeep cannot use`, {
      hint: "Write it as unix:///path/to/docker.sock or tcp://HOST:PORT. Over ssh: run Chatkeep on that machine instead.",
    });
  }
  const isSecure = scheme === "https" || (env["DOCKER_TLS_VERIFY"] ?? "") !== "";
  const folder = env["DOCKER_CERT_PATH"] ?? join(env["HOME"] ?? "/root", ".docker");
  return {
    kind: "tcp",
    host: parsed.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(parsed.port || (isSecure ? 2376 : 2375)),
    ...(isSecure ? { certificates: folder } : {}),
  };
}

/** For people. */
export function describeEngine(address: EngineAddress): string {
  return address.kind === "socket" ? address.path : `${address.host}:${address.port}`;
}

interface Answer {
  status: number;
  body: Buffer;
}

/** One file is asked for at a time, and Chatwoot's are small. */
const FILE_MAX_BYTES = 1024 * 1024;
const TAR_BLOCK_BYTES = 512;
/** Between two looks at whether a service's tasks have ended. */
const SETTLING_MS = 250;

/** On a service that was scaled to none: how many tasks it had. */
const TASKS_LABEL = "chatkeep.replicas";

/** How many tasks a service had that is scaled to none; undefined where neither it nor the Swarm says. */
export function tasksBefore({ Spec, PreviousSpec }: ServiceDetails): number | undefined {
  const counts = [Number(Spec.Labels?.[TASKS_LABEL]), PreviousSpec?.Mode.Replicated?.Replicas ?? 0];
  return counts.find((count) => Number.isInteger(count) && count > 0);
}

/** The service as it is to be; what its containers are made of does not change. */
function scaledSpec({ Spec }: ServiceDetails, replicas: number): ServiceDetails["Spec"] {
  const { [TASKS_LABEL]: noted, ...labels } = Spec.Labels ?? {};
  const now = Spec.Mode.Replicated?.Replicas ?? 0;
  const note = now > 0 ? String(now) : noted;
  const Labels = replicas > 0 || note === undefined ? labels : { ...labels, [TASKS_LABEL]: note };
  return { ...Spec, Labels, Mode: { Replicated: { Replicas: replicas } } };
}

export class EngineApi {
  readonly address: EngineAddress;
  readonly #signal: AbortSignal;

  constructor(address: EngineAddress, { signal }: { signal: AbortSignal }) {
    this.address = address;
    this.#signal = signal;
  }

  /**
   * What a path says, as JSON; undefined where the engine knows no such thing.
   * @throws Failure `program/failed` with what the engine said, or that it does not answer.
   */
  async ask<T>(path: string): Promise<T | undefined> {
    const { status, body } = await this.#request("GET", path);
    if (status === 404) return undefined;
    this.#refuse(path, status, body);
    return JSON.parse(body.toString("utf8")) as T;
  }

  /**
   * Sends something, and returns what the engine says; undefined where it says nothing, or knows no such thing.
   * @throws as {@link ask}.
   */
  async tell<T>(method: "POST" | "DELETE", path: string, content?: unknown): Promise<T | undefined> {
    const { status, body } = await this.#request(method, path, content);
    if (status === 404 && method === "DELETE") return undefined;
    this.#refuse(path, status, body);
    return body.length === 0 ? undefined : (JSON.parse(body.toString("utf8")) as T);
  }

  /**
   * The last lines that a container, or the tasks of a service, printed, oldest first; none where the engine has none.
   * @param of Its path: `/containers/NAME` or `/services/NAME`.
   */
  async lastLines(of: string, count: number): Promise<string[]> {
    const { status, body } = await this.#request("GET", `${of}/logs?stdout=1&stderr=1&tail=${count}`);
    if (status !== 200) return [];
    return withoutFrames(body)
      .split("\n")
      .map((line) => line.trimEnd())
      .filter(Boolean)
      .slice(-count);
  }

  /** Does something to a container. One that is in that state already is fine. */
  async act(container: string, action: "stop" | "start"): Promise<void> {
    const path = `/containers/${encodeURIComponent(container)}/${action}`;
    const { status, body } = await this.#request("POST", path);
    if (status === 304) return;
    this.#refuse(path, status, body);
  }

  /**
   * Gives an image a name, which another image may have had.
   * @throws Failure `program/failed` when there is no such image here.
   */
  async tag(image: string, name: string): Promise<void> {
    const cut = name.lastIndexOf(":");
    // A colon before a slash is that of a registry's port.
    const [repo, tag] = cut > name.lastIndexOf("/") ? [name.slice(0, cut), name.slice(cut + 1)] : [name, "latest"];
    const path = `/images/${encodeURIComponent(image)}/tag?repo=${encodeURIComponent(repo)}&tag=${encodeURIComponent(tag)}`;
    const { status, body } = await this.#request("POST", path);
    this.#refuse(path, status, body);
  }

  /**
   * Lets a Swarm's service have so many tasks. With none, notes on it how many it had, for the Swarm forgets that with the
   * next change, and waits until none runs on this machine.
   * @throws Failure `program/failed` when there is no such service with a number of tasks, or its tasks do not end.
   */
  async scale(service: string, replicas: number): Promise<void> {
    const path = `/services/${encodeURIComponent(service)}`;
    const found = await this.ask<ServiceDetails>(path);
    if (found?.Spec.Mode.Replicated === undefined) {
      throw new Failure("program/failed", `there is no service '${service}' of which tasks are counted`, {
        hint: "'docker service ls' on a manager of the Swarm lists them.",
      });
    }
    const where = `${path}/update?version=${found.Version.Index}`;
    const { status, body } = await this.#request("POST", where, scaledSpec(found, replicas));
    this.#refuse(where, status, body);
    if (replicas > 0) return;
    const filters = encodeURIComponent(JSON.stringify({ label: [`com.docker.swarm.service.id=${found.ID}`] }));
    const endMs = systemClock.monotonic() + LIMITS.engineAnswerMs;
    while (((await this.ask<unknown[]>(`/containers/json?filters=${filters}`)) ?? []).length > 0) {
      if (systemClock.monotonic() > endMs) {
        throw new Failure("program/failed", `the tasks of the service '${service}' do not end`, {
          hint: `'docker service ps ${service}' says what they do.`,
        });
      }
      await systemClock.sleep(SETTLING_MS, this.#signal);
    }
  }

  /** True when there is such a path in a container, running or not. */
  async hasPath(container: string, path: string): Promise<boolean> {
    const { status } = await this.#request("HEAD", archivePath(container, path));
    return status === 200;
  }

  /** A small file of a container, running or not; undefined where there is none. */
  async readFile(container: string, path: string): Promise<Buffer | undefined> {
    const where = archivePath(container, path);
    const { status, body } = await this.#request("GET", where);
    if (status === 404) return undefined;
    this.#refuse(where, status, body);
    return onlyFile(body);
  }

  #refuse(path: string, status: number, body: Buffer): void {
    if (status >= 200 && status < 300) return;
    throw new Failure("program/failed", `the Docker Engine refused ${path.split("?")[0]} with status ${status}`, {
      hint: `It said: ${saidBy(body)}`,
    });
  }

  async #request(method: string, path: string, content?: unknown): Promise<Answer> {
    try {
      return await this.#send(method, path, content);
    } catch (cause) {
      this.#signal.throwIfAborted();
      throw new Failure(
        "program/failed",
        `the Docker Engine at ${describeEngine(this.address)} does not answer: ${messageOf(cause)}`,
        { hint: "Is it running? DOCKER_HOST says where it listens, if not in the usual place.", cause },
      );
    }
  }

  async #send(method: string, path: string, content: unknown): Promise<Answer> {
    const { address } = this;
    const where: RequestOptions =
      address.kind === "socket"
        ? { socketPath: address.path, headers: { Host: "docker" } }
        : { host: address.host, port: address.port };
    const options = { ...where, method, path, signal: this.#signal, timeout: LIMITS.engineAnswerMs, agent: false };
    const certificates = address.kind === "tcp" ? address.certificates : undefined;
    const secure = certificates === undefined ? undefined : await readCertificates(certificates);
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const request =
        secure === undefined ? http().request(options, resolve) : https().request({ ...options, ...secure }, resolve);
      request.on("timeout", () => request.destroy(new Error("it fell silent")));
      request.on("error", reject);
      if (content === undefined) request.end();
      else request.setHeader("Content-Type", "application/json").end(JSON.stringify(content));
    });
    return { status: response.statusCode ?? 0, body: await buffer(response) };
  }
}

function archivePath(container: string, path: string): string {
  return `/containers/${encodeURIComponent(container)}/archive?path=${encodeURIComponent(path)}`;
}

function saidBy(body: Buffer): string {
  const text = body.toString("utf8").trim();
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    return typeof message === "string" ? message : text;
  } catch {
    return text.slice(0, 200);
  }
}

async function readCertificates(folder: string): Promise<{ ca: Buffer; cert: Buffer; key: Buffer }> {
  const [ca, cert, key] = await Promise.all(
    ["ca.pem", "cert.pem", "key.pem"].map((name) => readFile(join(folder, name))),
  );
  if (ca === undefined || cert === undefined || key === undefined) throw new Error(`no certificates in ${folder}`);
  return { ca, cert, key };
}

/** The file of a tar that holds one, as the engine makes it: a header of one block, and the bytes. Undefined for a folder or a link. */
function onlyFile(tar: Buffer): Buffer | undefined {
  // POSIX ustar: the size in octal at 124, the type at 156; an extended header of a long name may stand before.
  for (let at = 0; at + TAR_BLOCK_BYTES <= tar.length;) {
    const type = String.fromCharCode(tar[at + 156] ?? 0);
    const size = Number.parseInt(tar.toString("latin1", at + 124, at + 136), 8) || 0;
    const start = at + TAR_BLOCK_BYTES;
    if (type === "0" || type === "\0") return size > FILE_MAX_BYTES ? undefined : tar.subarray(start, start + size);
    if (type !== "x" && type !== "g") return undefined;
    at = start + Math.ceil(size / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
  }
  return undefined;
}

/**
 * What a process printed. Without a terminal the engine puts eight bytes before each piece: 0 to 2 for the stream, three
 * zeros, and the length.
 */
function withoutFrames(log: Buffer): string {
  const pieces: Buffer[] = [];
  for (let at = 0; at < log.length;) {
    const isFramed = (log[at] ?? 9) <= 2 && log.length >= at + 8 && log.readUIntBE(at + 1, 3) === 0;
    // A terminal's output has no frames at all.
    if (!isFramed) return log.toString("utf8");
    const end = at + 8 + log.readUInt32BE(at + 4);
    pieces.push(log.subarray(at + 8, end));
    at = end;
  }
  return Buffer.concat(pieces).toString("utf8");
}

/** Why an engine cannot be asked. */
export interface SilentEngine extends NoEngine {
  /** It is there, and this user may not use it. */
  isDenied: boolean;
  /** Nobody listens there, as before the engine was started. */
  isAway: boolean;
}

/** The engine that answers at an address, or why none does. */
export async function openEngine(
  address: EngineAddress,
  { signal }: { signal: AbortSignal },
): Promise<EngineApi | SilentEngine> {
  const engine = new EngineApi(address, { signal });
  try {
    await engine.ask("/version");
    return engine;
  } catch (error) {
    signal.throwIfAborted();
    return silence(address, error);
  }
}

const AWAY = new Set<unknown>(["ECONNREFUSED", "ECONNRESET", "EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT", "EAI_AGAIN"]);

function silence(address: EngineAddress, error: unknown): SilentEngine {
  const where = describeEngine(address);
  const cause: unknown = error instanceof Failure ? error.cause : undefined;
  // Of an address, these are about files of certificates, and the message names them.
  const code = address.kind === "socket" && cause instanceof Error && "code" in cause ? cause.code : "";
  const isAway = cause instanceof Error && "code" in cause && (code === "ENOENT" || AWAY.has(cause.code));
  if (code === "EACCES" || code === "EPERM") {
    return {
      isDenied: true,
      isAway: false,
      why: `this user may not use the Docker Engine's socket ${where}`,
      remedy:
        "Run Chatkeep as root, or add the user to the group that owns the socket: usermod --append --groups docker USER.",
    };
  }
  if (code === "ENOENT") {
    const remedy = "Start Docker, or name the socket in DOCKER_HOST.";
    return { isDenied: false, isAway, why: `no Docker Engine listens at ${where}`, remedy };
  }
  const remedy = "Start Docker, or say in DOCKER_HOST where it listens.";
  return { isDenied: false, isAway, why: messageOf(error), remedy };
}
