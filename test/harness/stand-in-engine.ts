/** A stand-in for a Docker Engine: an HTTP server on a socket that says what a test gives it, in the real one's shapes. */
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { ContainerDetails, ImageDetails } from "../../src/system/container-details.ts";
import { temporaryFolder } from "./temporary.ts";

export interface StandInContainer extends ContainerDetails {
  /** Files inside it, by their path. A folder has no text. */
  files?: Record<string, string | undefined>;
}

export interface StandInEngine extends AsyncDisposable {
  /** For `DOCKER_HOST`. */
  host: string;
  socket: string;
  /** What was done, as `stop acme-rails-1`. */
  acts: string[];
}

export interface StandInWorld {
  containers: readonly StandInContainer[];
  images?: readonly ImageDetails[];
}

const BLOCK = 512;

/** A tar of one file, as the engine makes it: with an extended header before it, as it writes for long times. */
function tarOf(name: string, text: string): Buffer {
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
  const bytes = Buffer.from(text);
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

/** Starts it, on a socket of its own. */
export async function startStandInEngine(world: StandInWorld): Promise<StandInEngine> {
  const folder = await temporaryFolder();
  const acts: string[] = [];
  const find = (name: string) =>
    world.containers.find(({ Id, Name }) => Id === name || Name === `/${name}` || Name === name);
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://engine");
    const parts = url.pathname.split("/").slice(1).map(decodeURIComponent);
    if (url.pathname === "/version") return answerJson(response, { ApiVersion: "1.51" });
    if (url.pathname === "/containers/json") {
      const isAll = url.searchParams.get("all") === "1";
      return answerJson(
        response,
        world.containers.filter(({ State }) => isAll || State.Running).map(({ Id }) => ({ Id })),
      );
    }
    if (parts[0] === "images")
      return answerJson(
        response,
        world.images?.find(({ Id }) => Id === parts[1]),
      );
    const container = find(parts[1] ?? "");
    if (parts[0] !== "containers" || container === undefined) return answerJson(response, undefined);
    const { files, ...details } = container;
    if (parts[2] === "json") return answerJson(response, details);
    if (parts[2] === "archive") {
      const path = url.searchParams.get("path") ?? "";
      if (files === undefined || !(path in files)) return answerJson(response, undefined);
      response.writeHead(200, { "content-type": "application/x-tar" });
      return response.end(
        request.method === "HEAD" ? "" : tarOf(path.slice(path.lastIndexOf("/") + 1), files[path] ?? ""),
      );
    }
    acts.push(`${parts[2]} ${details.Name.slice(1)}`);
    const isSame = (parts[2] === "start") === details.State.Running;
    return response.writeHead(isSame ? 304 : 204).end();
  });
  const socket = folder.at("docker.sock");
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
