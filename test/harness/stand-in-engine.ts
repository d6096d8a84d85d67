/** A stand-in for a Docker Engine: an HTTP server on a socket that says what a test gives it, in the real one's shapes. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import type {
  ContainerDetails,
  ImageDetails,
  NetworkDetails,
  ServiceDetails,
  VolumeDetails,
} from "../../src/system/container-details.ts";
import { temporaryFolder } from "./temporary.ts";

export interface StandInContainer extends ContainerDetails {
  /** Files inside it, by their path. A folder has no text. */
  files?: Record<string, string | undefined>;
  /** What its process printed. */
  printed?: string;
}

export interface StandInEngine extends AsyncDisposable {
  /** For `DOCKER_HOST`. */
  host: string;
  socket: string;
  /** What was done, as `stop acme-rails-1`. */
  acts: string[];
}

export interface StandInWorld {
  /** Those of a service that is scaled to none are not there. */
  containers: readonly StandInContainer[];
  /** Of a Swarm that the engine manages; without it the engine refuses to say. */
  services?: ServiceDetails[];
  networks?: Record<string, NetworkDetails>;
  images?: readonly ImageDetails[];
  volumes?: Record<string, VolumeDetails>;
  /** Called when a container was stopped or started. */
  onAct?: (act: string) => void | Promise<void>;
  /** What a container that is made prints and ends with. */
  onRun?: (made: MadeContainer) => { status: number; printed: string } | Promise<{ status: number; printed: string }>;
}

/** What an engine is asked to make. */
export interface MadeContainer {
  Image: string;
  Cmd: string[];
  Env: string[];
  Labels: Record<string, string>;
  HostConfig: Record<string, unknown>;
  NetworkingConfig?: unknown;
}

const BLOCK = 512;

/** A tar of one file, as the engine makes it: with an extended header before it, as it writes for long times. */
function tarOf(name: string, content: string): Buffer {
  const header = (size: number, type: string) => {
    const block = Buffer.alloc(BLOCK);
    block.write(name, 0, 100, "utf8");
    block.write(`${size.toString(8).padStart(11, "0")}\0`, 124, "latin1");
    block.write(type, 156, "latin1");
    block.write("ustar\0", 257, "latin1");
    return block;
  };
  const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK)]);
  const extended = Buffer.from("30 mtime=1748736000.123456789\n");
  const bytes = Buffer.from(content);
  return Buffer.concat([
    header(extended.length, "x"),
    padded(extended),
    header(bytes.length, "0"),
    padded(bytes),
    Buffer.alloc(2 * BLOCK),
  ]);
}

function answerJson(response: ServerResponse, value: unknown): void {
  const isThere = value !== undefined;
  response.writeHead(isThere ? 200 : 404, { "content-type": "application/json" });
  response.end(JSON.stringify(isThere ? value : { message: "No such container" }));
}

/** What there is now: a Swarm removes the containers of a service that is scaled to none. */
function containersOf({ containers, services = [] }: StandInWorld): StandInContainer[] {
  const idle = services.filter(({ Spec }) => Spec.Mode.Replicated?.Replicas === 0).map(({ Spec }) => Spec.Name);
  return containers.filter(({ Config }) => !idle.includes(Config.Labels?.["com.docker.swarm.service.name"] ?? ""));
}

async function answerServices(
  { services }: StandInWorld,
  [, name, update]: string[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (services === undefined) {
    response.writeHead(503).end(JSON.stringify({ message: "This node is not a swarm manager." }));
    return;
  }
  const service = services.find(({ Spec, ID }) => Spec.Name === name || ID === name);
  if (name === undefined || service === undefined || update === undefined) {
    answerJson(response, name === undefined ? services : service);
    return;
  }
  service.PreviousSpec = service.Spec;
  service.Spec = JSON.parse(await text(request)) as ServiceDetails["Spec"];
  service.Version.Index += 1;
  answerJson(response, {});
}

/** A name means one image at a time. */
function answerTag({ images = [] }: StandInWorld, id: string, { searchParams }: URL, response: ServerResponse): void {
  const named = images.find((image) => image.Id === id);
  if (named === undefined) return answerJson(response, undefined);
  const name = `${searchParams.get("repo")}:${searchParams.get("tag")}`;
  for (const image of images) image.RepoTags = (image.RepoTags ?? []).filter((one) => one !== name);
  named.RepoTags?.push(name);
  response.writeHead(201).end();
}

/** What was printed, as the engine frames it. */
function framed(printed: string): Buffer {
  const bytes = Buffer.from(printed);
  const head = Buffer.alloc(8);
  head[0] = 1;
  head.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([head, bytes]);
}

/** Containers that were made here, by name: one runs when it is started, and has ended when one looks again. */
class MadeContainers {
  readonly #world: StandInWorld;
  readonly #made = new Map<string, { body: MadeContainer; ended?: { status: number; printed: string } }>();

  constructor(world: StandInWorld) {
    this.#world = world;
  }

  /** True where it is about one of them. */
  async answer(url: URL, parts: string[], request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const [, name = "", part] = parts;
    if (name === "create") {
      this.#made.set(url.searchParams.get("name") ?? "", { body: JSON.parse(await text(request)) as MadeContainer });
      answerJson(response, { Id: url.searchParams.get("name") });
      return true;
    }
    const one = this.#made.get(name);
    if (one === undefined) return false;
    if (request.method === "DELETE") this.#made.delete(name);
    if (part === "start") one.ended = (await this.#world.onRun?.(one.body)) ?? { status: 0, printed: "" };
    if (part === "json") answerJson(response, { State: { Running: false, ExitCode: one.ended?.status ?? 0 } });
    else if (part === "logs") response.writeHead(200).end(framed(one.ended?.printed ?? ""));
    else response.writeHead(204).end();
    return true;
  }
}

/** Starts it, on a socket of its own, or at a path that does not exist yet. */
export async function startStandInEngine(world: StandInWorld, at?: string): Promise<StandInEngine> {
  const folder = await temporaryFolder();
  const acts: string[] = [];
  const find = (name: string) =>
    containersOf(world).find(({ Id, Name }) => Id === name || Name === `/${name}` || Name === name);
  const made = new MadeContainers(world);
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<unknown> => {
    const url = new URL(request.url ?? "/", "http://engine");
    const parts = url.pathname.split("/").slice(1).map(decodeURIComponent);
    if (url.pathname === "/version") return answerJson(response, { ApiVersion: "1.51" });
    if (url.pathname === "/containers/json") {
      const isAll = url.searchParams.get("all") === "1";
      const { label: [wanted] = [] } = JSON.parse(url.searchParams.get("filters") ?? "{}") as { label?: string[] };
      const isWanted = ({ Config }: StandInContainer) =>
        wanted === undefined ||
        Object.entries(Config.Labels ?? {}).some(([name, value]) => `${name}=${value}` === wanted);
      return answerJson(
        response,
        containersOf(world)
          .filter((one) => (isAll || one.State.Running) && isWanted(one))
          .map(({ Id }) => ({ Id })),
      );
    }
    if (parts[0] === "networks") return answerJson(response, world.networks?.[parts[1] ?? ""]);
    if (parts[0] === "services") return answerServices(world, parts, request, response);
    if (parts[0] === "volumes") return answerJson(response, world.volumes?.[parts[1] ?? ""]);
    if (parts[0] === "images" && parts[2] === "tag") return answerTag(world, parts[1] ?? "", url, response);
    if (parts[0] === "images")
      return answerJson(
        response,
        world.images?.find(({ Id, RepoTags }) => Id === parts[1] || RepoTags?.includes(parts[1] ?? "")),
      );
    if (await made.answer(url, parts, request, response)) return undefined;
    const container = find(parts[1] ?? "");
    if (parts[0] !== "containers" || container === undefined) return answerJson(response, undefined);
    const { files, printed: _printed, ...details } = container;
    if (parts[2] === "json") return answerJson(response, details);
    if (parts[2] === "archive") {
      const path = url.searchParams.get("path") ?? "";
      if (files === undefined || !(path in files)) return answerJson(response, undefined);
      response.writeHead(200, { "content-type": "application/x-tar" });
      return response.end(
        request.method === "HEAD" ? "" : tarOf(path.slice(path.lastIndexOf("/") + 1), files[path] ?? ""),
      );
    }
    if (parts[2] === "logs") return response.writeHead(200).end(framed(container.printed ?? ""));
    if (parts[2] === "update") {
      const { RestartPolicy } = JSON.parse(await text(request)) as NonNullable<ContainerDetails["HostConfig"]>;
      container.HostConfig = { ...container.HostConfig, ...(RestartPolicy === undefined ? {} : { RestartPolicy }) };
      return answerJson(response, { Warnings: [] });
    }
    if (request.method === "DELETE") {
      acts.push(`remove ${details.Name.slice(1)}`);
      world.containers = world.containers.filter((one) => one !== container);
      return response.writeHead(204).end();
    }
    const act = `${parts[2]} ${details.Name.slice(1)}`;
    acts.push(act);
    const isSame = (parts[2] === "start") === details.State.Running;
    container.State.Running = parts[2] === "start";
    await world.onAct?.(act);
    return response.writeHead(isSame ? 304 : 204).end();
  };
  // What a test's own call throws ends the line without an answer, as an engine that is killed does.
  const server = createServer((request, response) => void answer(request, response).catch(() => request.destroy()));
  const socket = at ?? folder.at("docker.sock");
  server.listen(socket);
  await once(server, "listening");
  return {
    host: `unix://${socket}`,
    socket,
    acts,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}
