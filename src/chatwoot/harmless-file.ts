/** Files that stand for uploaded ones: of their kind and their length, and with nothing in them. */

export interface HarmlessFile {
  readonly contentType: string;
  readonly sizeBytes: number;
  /** So much of `filler` comes between them. */
  readonly head: Buffer;
  readonly filler: number;
  readonly tail: Buffer;
}

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const GIF = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
const WEBP = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==";
const JPEG =
  "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA=";

const NONE = Buffer.alloc(0);
const SPACE = 0x20;
const REPLACED = "This file was replaced.\n";

/** @param contentType Of the uploaded file; what follows a semicolon does not count. */
export function harmlessFile(contentType: string, sizeBytes: number): HarmlessFile {
  const type = (contentType.split(";")[0] ?? "").trim().toLowerCase();
  const [head, filler, tail, madeType] = partsOf(type, sizeBytes);
  return { contentType: madeType, sizeBytes: Math.max(sizeBytes, head.length + tail.length), head, filler, tail };
}

type Parts = [head: Buffer, filler: number, tail: Buffer, contentType: string];

function partsOf(type: string, sizeBytes: number): Parts {
  const picture = { "image/gif": GIF, "image/webp": WEBP, "image/jpeg": JPEG, "image/jpg": JPEG }[type];
  if (picture !== undefined) return [Buffer.from(picture, "base64"), 0, NONE, type];
  if (type === "image/svg+xml") return [Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>\n'), SPACE, NONE, type];
  if (type.startsWith("image/")) return [Buffer.from(PNG, "base64"), 0, NONE, "image/png"];
  if (type.startsWith("audio/")) return [wavHead(sizeBytes), 0, NONE, "audio/wav"];
  if (type.startsWith("video/")) return [mp4Head(sizeBytes), 0, NONE, "video/mp4"];
  if (type === "application/pdf") return [...pdfParts(sizeBytes), type];
  if (type === "application/json") return [Buffer.from("{}\n"), SPACE, NONE, type];
  if (type === "message/rfc822") {
    return [Buffer.from(`From: nobody@clone.invalid\r\nSubject: replaced\r\n\r\n${REPLACED}`), SPACE, NONE, type];
  }
  if (/zip|officedocument|opendocument/.test(type)) return [NONE, 0, emptyZip(sizeBytes), type];
  if (type.startsWith("text/")) return [Buffer.from(REPLACED.slice(0, sizeBytes)), SPACE, NONE, type];
  return [NONE, 0, NONE, type === "" ? "application/octet-stream" : type];
}

const WAV_HEAD_BYTES = 44;

/** Eight thousand bytes of silence a second. */
function wavHead(sizeBytes: number): Buffer {
  const head = Buffer.alloc(WAV_HEAD_BYTES);
  const data = Math.min(Math.max(0, sizeBytes - WAV_HEAD_BYTES), 0xffff_0000);
  head.write("RIFF", 0);
  head.writeUInt32LE(data + 36, 4);
  head.write("WAVEfmt ", 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(8000, 24);
  head.writeUInt32LE(16_000, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write("data", 36);
  head.writeUInt32LE(data, 40);
  return head;
}

/** A film without any track; all that follows is free space. */
function mp4Head(sizeBytes: number): Buffer {
  const head = Buffer.alloc(40);
  head.writeUInt32BE(24, 0);
  head.write("ftypisom", 4);
  head.writeUInt32BE(512, 12);
  head.write("isommp42", 16);
  // A length of 64 bits follows the name.
  head.writeUInt32BE(1, 24);
  head.write("free", 28);
  head.writeBigUInt64BE(BigInt(Math.max(16, sizeBytes - 24)), 32);
  return head;
}

/** One empty page; a comment fills the room before the table of its objects. */
function pdfParts(sizeBytes: number): [Buffer, number, Buffer] {
  const objects = [
    "<</Type/Catalog/Pages 2 0 R>>",
    "<</Type/Pages/Kids[3 0 R]/Count 1>>",
    "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>",
  ];
  let head = "%PDF-1.4\n";
  const offsets: number[] = [];
  for (const [at, object] of objects.entries()) {
    offsets.push(head.length);
    head += `${at + 1} 0 obj${object}endobj\n`;
  }
  head += "%";
  const table = offsets.map((offset) => `${String(offset).padStart(10, "0")} 00000 n \n`).join("");
  const tailFrom = (start: number) =>
    `\nxref\n0 4\n0000000000 65535 f \n${table}trailer<</Size 4/Root 1 0 R>>\nstartxref\n${String(start).padStart(12, "0")}\n%%EOF\n`;
  const tailBytes = tailFrom(0).length;
  const start = Math.max(sizeBytes, head.length + tailBytes) - tailBytes + 1;
  return [Buffer.from(head), SPACE, Buffer.from(tailFrom(start))];
}

const ZIP_END_BYTES = 22;

/** The end of an archive that has no files. */
function emptyZip(sizeBytes: number): Buffer {
  const end = Buffer.alloc(ZIP_END_BYTES);
  end.writeUInt32LE(0x0605_4b50, 0);
  end.writeUInt32LE(Math.min(Math.max(0, sizeBytes - ZIP_END_BYTES), 0xffff_fffe), 16);
  return end;
}

const PIECE_BYTES = 1024 * 1024;

/** The file's bytes, in pieces of at most a mebibyte. */
export function* harmlessBytes({ head, filler, tail, sizeBytes }: HarmlessFile): Generator<Buffer> {
  if (head.length > 0) yield head;
  const piece = Buffer.alloc(Math.min(PIECE_BYTES, sizeBytes), filler);
  for (let left = sizeBytes - head.length - tail.length; left > 0; left -= piece.length) yield piece.subarray(0, left);
  if (tail.length > 0) yield tail;
}
