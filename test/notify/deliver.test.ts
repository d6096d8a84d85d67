import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { type AddressInfo, connect, createServer as createPlainServer } from "node:net";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { deliver, type DeliveryTools, ping } from "../../src/notify/deliver.ts";
import type { Channel, HookChannel, MailChannel, Notice } from "../../src/notify/notice.ts";
import { makeAuthority } from "../harness/certificates.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { startMailServer } from "../harness/mail-server.ts";
import { type Answer, startListener } from "../harness/told.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const ON = new Set(["failure", "finding", "success"] as const);
const NOTICE: Notice = {
  outcome: "failure",
  title: "[chatkeep] acme: NO BACKUP was made",
  text: "What happened:\n  backup: FAILED: <disk> & ``` full, naïvely\n",
  facts: { exit: 20, installation: { name: "acme" } },
};

function tools(limitMs = 5_000): DeliveryTools & { clock: HandClock } {
  const { signal } = new AbortController();
  return { clock: new HandClock({ wakesAtOnce: true }), signal, env: {}, limitMs };
}

function hook(url: string, kind: HookChannel["kind"] = "generic"): HookChannel {
  return { kind, name: kind, on: ON, url: new URL(url) };
}

function json(body: string | undefined): Record<string, unknown> {
  return JSON.parse(body ?? "") as Record<string, unknown>;
}

function lead(status: number, location: string): () => Answer {
  return () => ({ status, headers: { Location: location } });
}

function mail(port: number, more: Partial<MailChannel> = {}): MailChannel {
  const to = ["ops@example.com", "boss@example.com"];
  const from = "chatkeep@example.com";
  return { kind: "email", name: "ops", on: ON, from, to, host: "127.0.0.1", port, security: "none", ...more };
}

test("each kind of webhook is told in its service's own way", async () => {
  await using listener = await startListener();
  const url = `${listener.url}/services/T0/B0/secret`;
  const channels: Channel[] = [
    hook(url),
    hook(url, "slack"),
    hook(url, "discord"),
    { kind: "telegram", name: "t", on: ON, server: new URL(listener.url), chat: "-100123", token: "42:secret" },
    { kind: "ntfy", name: "n", on: ON, url: new URL(`${listener.url}/acme`), token: "tk_secret" },
  ];
  for (const channel of channels) await deliver(channel, NOTICE, tools());
  const [generic, slack, discord, telegram, ntfy] = listener.told;
  assert.deepEqual(json(generic?.body), {
    type: "notice",
    outcome: "failure",
    title: NOTICE.title,
    text: NOTICE.text,
    exit: 20,
    installation: { name: "acme" },
  });
  assert.equal(
    json(slack?.body)["text"],
    `*${NOTICE.title}*\n\`\`\`\nWhat happened:\n  backup: FAILED: &lt;disk&gt; &amp; ''' full, naïvely\n\n\`\`\``,
  );
  assert.deepEqual(json(discord?.body), {
    content: `**${NOTICE.title}**\n\`\`\`\n${NOTICE.text.replace("```", "'''")}\n\`\`\``,
    allowed_mentions: { parse: [] },
  });
  assert.equal(telegram?.path, "/bot42:secret/sendMessage");
  assert.equal(json(telegram?.body)["chat_id"], "-100123");
  assert.equal(json(telegram?.body)["text"], `${NOTICE.title}\n\n${NOTICE.text}`);
  assert.equal(ntfy?.path, "/acme");
  assert.equal(ntfy?.body, NOTICE.text);
  assert.deepEqual(
    [ntfy?.headers["title"], ntfy?.headers["priority"], ntfy?.headers.authorization],
    [NOTICE.title, "high", "Bearer tk_secret"],
  );
});

test("a text that is too long for a service is cut, not refused", async () => {
  await using listener = await startListener();
  const long = { ...NOTICE, text: "é".repeat(50_000) };
  await deliver(hook(listener.url, "discord"), long, tools());
  const { content } = JSON.parse(listener.told[0]?.body ?? "") as { content: string };
  assert.ok(content.length <= 2_000, `${content.length}`);
  assert.match(content, / …\n```$/);
});

test("what may pass by itself is tried three times, with longer and longer waits", async () => {
  await using listener = await startListener();
  listener.answer = () => ({ status: listener.told.length < 3 ? 503 : 204 });
  const own = tools();
  await deliver(hook(listener.url), NOTICE, own);
  assert.equal(listener.told.length, 3);
  assert.deepEqual(own.clock.waits, [2_000, 8_000]);
});

test("a service that stays away is given up, and its address is in no message", async () => {
  await using listener = await startListener();
  listener.answer = () => ({ status: 500, body: "out of order" });
  await assert.rejects(deliver(hook(`${listener.url}/secret-path`), NOTICE, tools()), (error) => {
    assert.ok(isFailure(error, "notice/failed"));
    assert.equal(error.message, `127.0.0.1:${listener.port} answered 500: out of order`);
    return true;
  });
  assert.equal(listener.told.length, 3);
});

test("what is asked to come later is waited for, up to half a minute", async () => {
  await using listener = await startListener();
  listener.answer = () => ({ status: listener.told.length < 2 ? 429 : 200, headers: { "Retry-After": "20" } });
  const own = tools();
  await deliver(hook(listener.url), NOTICE, own);
  assert.deepEqual(own.clock.waits, [20_000]);
  listener.answer = () => ({ status: 429, headers: { "Retry-After": "3600" } });
  await assert.rejects(deliver(hook(listener.url), NOTICE, own), (error) => isFailure(error, "notice/failed"));
  assert.deepEqual(own.clock.waits, [20_000], "an hour is for the next run");
});

test("what is refused for good is not tried again", async () => {
  await using listener = await startListener();
  listener.answer = () => ({ status: 404, body: "no_service" });
  await assert.rejects(deliver(hook(listener.url), NOTICE, tools()), (error) => isFailure(error, "notice/refused"));
  assert.equal(listener.told.length, 1);
});

test("a service that never answers is left after the time that one request has", async () => {
  await using listener = await startListener();
  listener.answer = () => "silence";
  await assert.rejects(ping(new URL(listener.url), tools(100)), (error) => {
    assert.ok(isFailure(error, "notice/failed"));
    assert.match(error.message, /^127\.0\.0\.1:\d+ cannot be reached: no answer in time$/);
    return true;
  });
});

test("redirects are followed a few times, never with a changed method, and credentials stay with their host", async () => {
  await using elsewhere = await startListener();
  await using listener = await startListener();
  const ntfy: Channel = { kind: "ntfy", name: "n", on: ON, url: new URL(listener.url), token: "secret" };
  listener.answer = lead(308, `${elsewhere.url}/there`);
  await deliver(ntfy, NOTICE, tools());
  assert.equal(elsewhere.told[0]?.body, NOTICE.text);
  assert.equal(elsewhere.told[0]?.headers.authorization, undefined);
  listener.answer = lead(302, `${elsewhere.url}/there`);
  await assert.rejects(deliver(ntfy, NOTICE, tools()), (error) => isFailure(error, "notice/refused"));
  await ping(new URL(listener.url), tools());
  assert.equal(elsewhere.told.at(-1)?.method, "GET");
  listener.answer = lead(307, "/again");
  listener.told.length = 0;
  await assert.rejects(ping(new URL(listener.url), tools()), (error) => isFailure(error, "notice/refused"));
  assert.equal(listener.told.length, 4, "the first and three more");
});

test("a proxy of the environment is used", async () => {
  await using listener = await startListener();
  const asked: string[] = [];
  const proxy = createServer((request, response) => {
    asked.push(request.url ?? "");
    response.end();
  });
  // Node asks a proxy for a tunnel, or for the whole address: both say where it goes.
  proxy.on("connect", (request, socket) => {
    asked.push(`http://${request.url ?? ""}/`);
    const onward = connect(listener.port, "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      onward.pipe(socket).pipe(onward);
    });
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  try {
    const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    await ping(new URL("http://hooks.invalid/"), { ...tools(), env: { HTTP_PROXY: address } });
    assert.deepEqual(asked, ["http://hooks.invalid/"]);
  } finally {
    proxy.closeAllConnections();
    proxy.close();
  }
});

test("a mail arrives whole at each address, and says that a machine wrote it", async () => {
  await using server = await startMailServer();
  await deliver(mail(server.port), NOTICE, tools());
  const [received] = server.mails;
  assert.equal(received?.from, "chatkeep@example.com");
  assert.deepEqual(received?.to, ["ops@example.com", "boss@example.com"]);
  assert.match(received?.source ?? "", /^Subject: \[chatkeep\] acme: NO BACKUP was made\r$/m);
  assert.match(received?.source ?? "", /^Auto-Submitted: auto-generated\r$/m);
  assert.equal(received?.text.trimEnd(), NOTICE.text.trimEnd());
});

test("a password travels only once the connection is encrypted, and only to whom its certificate names", async () => {
  await using folder = await temporaryFolder();
  const authority = await makeAuthority(folder.path, "root");
  const signed = await authority.sign("localhost", ["localhost"]);
  const [key, cert] = await Promise.all([readFile(signed.key), readFile(signed.certificate)]);
  await using server = await startMailServer({
    key,
    cert,
    authOptional: false,
    onAuth({ username, password }, _session, done) {
      if (username === "ops" && password === "right") done(null, { user: username });
      else done(new Error("no such user or password"));
    },
  });
  const secure = {
    host: "localhost",
    security: "starttls",
    user: "ops",
    password: "right",
    authority: await readFile(authority.certificate, "utf8"),
  } as const;
  await deliver(mail(server.port, secure), NOTICE, tools());
  assert.deepEqual([server.mails[0]?.user, server.mails[0]?.isSecure], ["ops", true]);

  await assert.rejects(deliver(mail(server.port, { ...secure, password: "wrong" }), NOTICE, tools()), (error) => {
    assert.ok(isFailure(error, "notice/refused"));
    assert.doesNotMatch(`${error.message}${error.hint}`, /wrong pass|right/);
    return true;
  });
  const stranger = { ...secure, authority: undefined };
  await assert.rejects(deliver(mail(server.port, stranger), NOTICE, tools()), /certificate/);
  assert.equal(server.mails.length, 1);
});

test("a mail server without encryption is refused where encryption was asked for", async () => {
  await using server = await startMailServer();
  await assert.rejects(deliver(mail(server.port, { security: "starttls" }), NOTICE, tools()), /STARTTLS/i);
  assert.equal(server.mails.length, 0);
});

test("a mail server that is down or silent is tried again and given up; one that refuses an address is not", async () => {
  const silent = createPlainServer(() => {});
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as AddressInfo;
  try {
    const own = tools(100);
    await assert.rejects(deliver(mail(port), NOTICE, own), (error) => isFailure(error, "notice/failed"));
    assert.equal(own.clock.waits.length, 2);
  } finally {
    silent.close();
  }
  const own = tools();
  await assert.rejects(deliver(mail(port), NOTICE, own), /ECONNREFUSED/);
  assert.equal(own.clock.waits.length, 2);
  await using server = await startMailServer({
    onRcptTo({ address }, _session, done) {
      done(address.startsWith("boss") ? new Error("no such person") : null);
    },
  });
  await assert.rejects(deliver(mail(server.port), NOTICE, own), (error) => {
    assert.ok(isFailure(error, "notice/refused"));
    assert.match(error.message, /boss@example\.com/);
    return true;
  });
});
