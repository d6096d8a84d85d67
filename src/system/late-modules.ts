/**
 * Parts of Node that are loaded when they are first needed. An `import` of `node:http` brings `fetch` and all below it, and `node:tls`
 * is large, too: together more processor time than Node itself takes to start, in every command, and most of them ask nobody over HTTP.
 */
import type * as NodeHttp from "node:http";
import type * as NodeHttps from "node:https";
import type * as NodeTls from "node:tls";
import process from "node:process";

/** Node's HTTP. */
export function http(): typeof NodeHttp {
  return process.getBuiltinModule("node:http");
}

/** Node's HTTPS. */
export function https(): typeof NodeHttps {
  return process.getBuiltinModule("node:https");
}

/** Node's TLS. */
export function tls(): typeof NodeTls {
  return process.getBuiltinModule("node:tls");
}
