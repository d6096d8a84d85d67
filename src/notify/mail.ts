/** A notice as an e-mail, by SMTP. */
import { createTransport } from "nodemailer";
import { Failure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { tls } from "../system/late-modules.ts";
import type { MailChannel, Notice } from "./notice.ts";

/** @throws Failure `notice/failed` for what may pass by itself, `notice/refused` for what does not. */
export async function sendMail(
  channel: MailChannel,
  { title, text, outcome }: Notice,
  { signal, limitMs = LIMITS.mailMs }: { signal: AbortSignal; limitMs?: number },
): Promise<void> {
  const { host, port, security, user, password, authority } = channel;
  const transport = createTransport({
    host,
    port,
    secure: security === "tls",
    requireTLS: security === "starttls",
    ignoreTLS: security === "none",
    ...(user === undefined ? {} : { auth: { user, pass: password ?? "" } }),
    ...(authority === undefined ? {} : { tls: { ca: [...tls().getCACertificates("default"), authority] } }),
    connectionTimeout: limitMs,
    greetingTimeout: limitMs,
    socketTimeout: limitMs,
    // What stands in a notice is text, and never the name of a file or an address to read.
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  const limit = AbortSignal.timeout(limitMs);
  const { promise: stopped, reject } = Promise.withResolvers<never>();
  const stop = () => reject(new Error("no answer in time"));
  const either = AbortSignal.any([signal, limit]);
  either.addEventListener("abort", stop, { once: true });
  try {
    const sent = transport.sendMail({
      from: channel.from,
      to: [...channel.to],
      subject: title,
      text,
      // Nobody's holiday reply should come back to a server's mailbox.
      headers: { "Auto-Submitted": "auto-generated", ...(outcome === "failure" ? { Importance: "high" } : {}) },
    });
    sent.catch(() => {});
    const { rejected } = await Promise.race([sent, stopped]);
    if (rejected.length > 0)
      throw new Failure("notice/refused", `${host} does not take mail for ${rejected.join(", ")}`);
  } catch (error) {
    signal.throwIfAborted();
    throw mailFailure(error, channel);
  } finally {
    either.removeEventListener("abort", stop);
    transport.close();
  }
}

/** A server that says 5xx has decided. */
function mailFailure(error: unknown, { host, port }: MailChannel): Failure {
  if (error instanceof Failure) return error;
  const { responseCode = 0, code = "" } = error as { responseCode?: number; code?: string };
  const said = messageOf(error).split("\n")[0] ?? "";
  const isFinal = responseCode >= 500 || code === "EAUTH" || code === "EENVELOPE";
  const hint =
    code === "EAUTH"
      ? "User or password is wrong, or the server wants another way to log in."
      : "Are server, port and security (tls, starttls or none) right, and may this machine reach it?";
  return new Failure(isFinal ? "notice/refused" : "notice/failed", `mail server ${host}:${port}: ${said}`, {
    hint,
    cause: error,
  });
}
