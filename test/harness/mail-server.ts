/** A real SMTP server on a free port of this machine, and the mails that it got. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";

export interface ReceivedMail {
  from: string;
  to: string[];
  /** Who logged in; undefined where nobody did. */
  user: string | undefined;
  /** True when it came over TLS. */
  isSecure: boolean;
  /** As it came. */
  source: string;
  /** The body, its quoted-printable undone. */
  text: string;
}

export interface MailServer extends AsyncDisposable {
  readonly port: number;
  readonly mails: ReceivedMail[];
  stop(): Promise<void>;
}

export async function startMailServer(options: SMTPServerOptions = {}, port = 0): Promise<MailServer> {
  const mails: ReceivedMail[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: options.key === undefined ? ["STARTTLS"] : [],
    logger: false,
    ...options,
    onData(stream, session, callback) {
      const pieces: Buffer[] = [];
      stream.on("data", (piece: Buffer) => pieces.push(piece));
      stream.on("end", () => {
        const { mailFrom, rcptTo } = session.envelope;
        const source = Buffer.concat(pieces).toString("utf8");
        mails.push({
          from: mailFrom === false ? "" : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          user: typeof session.user === "string" ? session.user : undefined,
          isSecure: session.secure,
          source,
          text: bodyOf(source),
        });
        callback();
      });
    },
  });
  server.on("error", () => {});
  server.listen(port, "127.0.0.1");
  await once(server.server, "listening");
  let isOver = false;
  const stop = async () => {
    if (isOver) return;
    isOver = true;
    await new Promise<void>((done) => server.close(() => done()));
  };
  return {
    port: (server.server.address() as AddressInfo).port,
    mails,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function bodyOf(source: string): string {
  const [head = "", ...rest] = source.split("\r\n\r\n");
  const body = rest.join("\r\n\r\n").replaceAll("\r\n", "\n");
  if (!/quoted-printable/i.test(head)) return body;
  const bytes = body
    .replaceAll("=\n", "")
    .replaceAll(/=([0-9A-F]{2})/g, (_code, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, "latin1").toString("utf8");
}
