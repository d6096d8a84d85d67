/** Cuts what comes in pieces of any length into parts of one length; the last one may be shorter. */

/** Nothing is one empty part. */
export async function* inParts(pieces: AsyncIterable<Uint8Array>, partBytes: number): AsyncGenerator<Buffer> {
  let gathered: Uint8Array[] = [];
  let length = 0;
  let isFirst = true;
  for await (const piece of pieces) {
    let rest = piece;
    while (length + rest.length > partBytes) {
      const cut = partBytes - length;
      yield Buffer.concat([...gathered, rest.subarray(0, cut)]);
      isFirst = false;
      rest = rest.subarray(cut);
      gathered = [];
      length = 0;
    }
    if (rest.length > 0) gathered.push(rest);
    length += rest.length;
  }
  if (length > 0 || isFirst) yield Buffer.concat(gathered);
}
