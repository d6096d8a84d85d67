/**
 * Hands a server the manifest of an earlier base, so that it sends of the next one what changed since.
 *
 * Source: PostgreSQL's documentation, "Streaming Replication Protocol": UPLOAD_MANIFEST, from 17 on.
 */
import type { Submittable } from "pg";

/** What is used of the library's connection. */
interface ProtocolConnection {
  query(sql: string): void;
  sendCopyFromChunk(chunk: Uint8Array): void;
  endCopyFrom(): void;
}

/** The server reads a manifest in parts of this length. */
const PART_BYTES = 64 * 1024;

/** A command for `Client.query`; {@link done} says how it ended. */
export class ManifestUpload implements Submittable {
  readonly #manifest: Uint8Array;
  readonly #done = Promise.withResolvers<void>();

  constructor(manifest: Uint8Array) {
    this.#manifest = manifest;
  }

  /** Rejects with what the server, the network or the library says. */
  get done(): Promise<void> {
    return this.#done.promise;
  }

  submit(connection: unknown): void {
    (connection as ProtocolConnection).query("UPLOAD_MANIFEST");
  }

  handleCopyInResponse(connection: unknown): void {
    const { length } = this.#manifest;
    for (let at = 0; at < length; at += PART_BYTES) {
      (connection as ProtocolConnection).sendCopyFromChunk(this.#manifest.subarray(at, at + PART_BYTES));
    }
    (connection as ProtocolConnection).endCopyFrom();
  }

  handleReadyForQuery(): void {
    this.#done.resolve();
  }

  handleError(error: Error): void {
    this.#done.reject(error);
  }

  // The library calls them, and nothing is left to do.
  handleRowDescription(): void {}
  handleDataRow(): void {}
  handleCommandComplete(): void {}
  handleEmptyQuery(): void {}
  handleCopyData(): void {}
}
