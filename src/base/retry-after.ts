/** Milliseconds that a `Retry-After` header asks for; undefined for none, and for its rare other form, a date. */
export function parseRetryAfter(header: string | undefined): number | undefined {
  return header !== undefined && /^\s*\d{1,6}\s*$/.test(header) ? Number(header) * 1000 : undefined;
}
