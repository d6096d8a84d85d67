/** Where Chatwoot gives an uploaded file to a browser: Active Storage's own path, with a signed id. */
import { signBlobId } from "./signed-id.ts";

/** Pure. @param digest As Rails' defaults of version 7.0 have it (Chatwoot since 2.17), or those before. */
export function blobPathOf(
  { id, filename }: { id: number; filename: string },
  secretKeyBase: string,
  digest: "sha256" | "sha1" = "sha256",
): string {
  const signed = encodeURIComponent(signBlobId(id, secretKeyBase, digest));
  return `/rails/active_storage/blobs/redirect/${signed}/${encodeURIComponent(filename)}`;
}
