import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import {
  activeStorageService,
  databaseOf,
  railsEnvOf,
  readEnvFile,
  redisOf,
  storageServicesOf,
} from "../../src/chatwoot/environment.ts";

interface Vectors {
  cases: { text: string; values: Record<string, string> }[];
}
const vectors = JSON.parse(
  readFileSync(new URL("../fixtures/dotenv-vectors.json", import.meta.url), "utf8"),
) as Vectors;

const env = (values: Record<string, string>) => new Map(Object.entries(values));

test("environment files are read as the dotenv gem reads them", () => {
  assert.ok(vectors.cases.length > 200);
  for (const { text, values } of vectors.cases) {
    assert.deepEqual(Object.fromEntries(readEnvFile(text).values), values, JSON.stringify(text));
  }
});

test("a byte order mark and any line ends change nothing", () => {
  for (const end of ["\n", "\r\n", "\r"]) {
    assert.deepEqual(
      readEnvFile(`\uFEFFA=1${end}B="x${end}y"${end}`).values,
      new Map([
        ["A", "1"],
        ["B", "x\ny"],
      ]),
    );
  }
});

test("variables are taken from the process before the file", () => {
  const values = readEnvFile("HOST=file\nURL=http://$HOST", env({ HOST: "process" })).values;
  assert.equal(values.get("URL"), "http://process");
});

test("a shell command is never run, and its variable is named", () => {
  const read = readEnvFile("A=$(touch /tmp/never)\nB='$(x)'\nC=\\$(x)\nD=$(one)\nD=two");
  assert.deepEqual(read.commands, ["A"]);
  assert.equal(read.values.get("A"), "$(touch /tmp/never)");
  assert.equal(read.values.get("B"), "$(x)");
  assert.equal(read.values.get("C"), "$(x)");
});

test("lines that say nothing are known by their numbers", () => {
  const text = `# a comment
A=1

AWS_SECRET_ACCESS_KEY abc
B="two
lines" # and a comment
NAME
export B
- C=2
D: 3
E=`;
  const read = readEnvFile(text.replaceAll("\n", "\r\n"));
  assert.deepEqual(read.idleLines, [4, 7, 9]);
  assert.deepEqual([...read.values.keys()], ["A", "B", "NAME", "D", "E"]);
});

const names = fc.stringMatching(/^[A-Z][A-Z0-9_]{0,12}$/);

test("whatever is quoted as the format allows comes back", () => {
  // In single quotes nothing is special; in double quotes, backslash, quote and dollar are escaped.
  const single = fc
    .string({ unit: "grapheme" })
    .filter((text) => !/['\\\r]/.test(text))
    .map((value) => ({ value, written: `'${value}'` }));
  const double = fc
    .string()
    // A bracket after an escaped dollar that nothing closes keeps the backslash.
    .filter((text) => !/[\\\r"]|\$\(/.test(text))
    .map((value) => ({ value, written: `"${value.replaceAll("$", "\\$")}"` }));
  const plain = fc.stringMatching(/^[A-Za-z0-9+/=:@._-]{1,30}$/).map((value) => ({ value, written: value }));
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(names, fc.oneof(single, double, plain), fc.boolean()), { selector: ([name]) => name }),
      (entries) => {
        const text = entries
          .map(([name, { written }, isExport]) => `${isExport ? "export " : ""}${name}=${written} # note\n`)
          .join("");
        const expected = new Map(entries.map(([name, { value }]) => [name, value]));
        assert.deepEqual(readEnvFile(text).values, expected);
      },
    ),
  );
});

test("any text at all is read without an error, however long", () => {
  fc.assert(
    fc.property(
      fc.string({
        unit: fc.constantFrom("A", "=", "'", '"', "\\", "$", "{", "(", ")", "#", "\n", " ", ":"),
        maxLength: 200,
      }),
      (text) => {
        for (const [name] of readEnvFile(text).values) assert.match(name, /^[\w.]+$/);
      },
    ),
  );
  for (const part of ["A='", "\n", 'A="\\"', "A\n", "export ", "A=$(", "=\n#"]) {
    assert.ok(readEnvFile(part.repeat(100_000)).values.size <= 2);
  }
});

test("the database is the production one, with Chatwoot's own defaults", () => {
  assert.deepEqual(databaseOf(new Map()), {
    host: "localhost",
    port: 5432,
    user: "chatwoot_prod",
    password: "chatwoot_prod",
    database: "chatwoot_production",
  });
  const cwctl = env({
    RAILS_ENV: "production",
    POSTGRES_HOST: "localhost",
    POSTGRES_USERNAME: "chatwoot",
    POSTGRES_PASSWORD: "pw",
  });
  assert.deepEqual(databaseOf(cwctl), {
    host: "localhost",
    port: 5432,
    user: "chatwoot",
    password: "pw",
    database: "chatwoot_production",
  });
});

test("the example file's RAILS_ENV=development leads to the development database", () => {
  assert.deepEqual(databaseOf(env({ RAILS_ENV: "development" })), {
    host: "localhost",
    port: 5432,
    user: "postgres",
    password: "password",
    database: "chatwoot_dev",
  });
  assert.equal(railsEnvOf(env({ RAILS_ENV: "", RACK_ENV: "test" })), "test");
});

test("DATABASE_URL wins, and what it leaves out is taken from the rest", () => {
  const rest = { POSTGRES_DATABASE: "other", POSTGRES_HOST: "elsewhere" };
  assert.deepEqual(databaseOf(env({ ...rest, DATABASE_URL: "postgres://u:p@h:1/db" })), {
    url: "postgres://u:p@h:1/db",
  });
  assert.deepEqual(databaseOf(env({ DATABASE_URL: "postgresql://u:p@h" })), {
    url: "postgresql://u:p@h/chatwoot_production",
  });
  assert.deepEqual(databaseOf(env({ ...rest, DATABASE_URL: "postgresql://u:p@h/?sslmode=require" })), {
    url: "postgresql://u:p@h/other?sslmode=require",
  });
  assert.deepEqual(databaseOf(env({ DATABASE_URL: "" })), databaseOf(new Map()));
});

test("an empty host means the local socket", () => {
  const database = databaseOf(env({ POSTGRES_HOST: "" }));
  assert.equal(database.url === undefined && database.host, "/var/run/postgresql");
});

test("settings that make no sense are refused without being shown", () => {
  for (const bad of [
    { DATABASE_URL: "mysql://u:secretword@h/db" },
    { POSTGRES_PORT: "secretword" },
    { POSTGRES_PORT: "70000" },
  ]) {
    assert.throws(
      () => databaseOf(env(bad)),
      (error) => isFailure(error, "installation/invalid") && !`${error.message} ${error.hint}`.includes("secretword"),
    );
  }
});

test("storage services are those that blobs may name, with what is lacking", () => {
  const services = storageServicesOf(
    env({
      ACTIVE_STORAGE_SERVICE: "s3_compatible",
      S3_BUCKET_NAME: "old",
      AWS_REGION: "eu",
      STORAGE_ENDPOINT: "https://minio",
    }),
    "/app/",
  );
  assert.deepEqual(
    services.map((service) => service.serviceName),
    ["local", "amazon", "s3_compatible"],
  );
  assert.deepEqual(services[0], { serviceName: "local", kind: "local", roots: ["/app/storage"] });
  const [, amazon, compatible] = services;
  assert.deepEqual(amazon?.kind !== "local" && amazon?.missing, ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]);
  assert.ok(compatible?.kind === "s3" && compatible.missing.includes("STORAGE_BUCKET_NAME"));
  assert.equal(activeStorageService(env({ ACTIVE_STORAGE_SERVICE: "" })), "local");
  assert.equal(storageServicesOf(env({ AWS_ACCESS_KEY_ID: "for something else" }), "/app").length, 1);
});

test("the Redis that the application uses: URL, password beside it, database, socket", () => {
  const plain = { isSecure: false, isVerified: true, database: 0, sentinels: [] };
  assert.deepEqual(redisOf(env({})), { host: "127.0.0.1", port: 6379, ...plain });
  assert.deepEqual(redisOf(env({ REDIS_URL: "redis://redis:6379", REDIS_PASSWORD: "p" })), {
    host: "redis",
    port: 6379,
    ...plain,
    password: "p",
  });
  const whole = { REDIS_URL: "rediss://u%40x:p%3Aq@[::1]:7000/3", REDIS_OPENSSL_VERIFY_MODE: "none" };
  assert.deepEqual(redisOf(env(whole)), {
    host: "::1",
    port: 7000,
    isSecure: true,
    isVerified: false,
    database: 3,
    user: "u@x",
    password: "p:q",
    sentinels: [],
  });
  // Ruby's client takes what is said beside the URL first.
  assert.equal(redisOf(env({ ...whole, REDIS_PASSWORD: "other" }))?.password, "other");
  assert.equal(redisOf(env({ REDIS_URL: "redis://:100%@redis" }))?.password, "100%");
  const socket = redisOf(env({ REDIS_URL: "unix:///run/redis/redis.sock?db=2" }));
  assert.deepEqual([socket?.host, socket?.database], ["/run/redis/redis.sock", 2]);
  assert.equal(redisOf(env({ REDIS_URL: "redis" })), undefined);
  assert.equal(redisOf(env({ REDIS_URL: "http://redis" })), undefined);
});

test("with sentinels they and the name of the master count, and nothing of the URL", () => {
  const base = { REDIS_URL: "rediss://u:p@elsewhere:7000/3", REDIS_SENTINELS: "a:26380, b" };
  assert.deepEqual(redisOf(env(base)), {
    host: "mymaster",
    port: 6379,
    isSecure: false,
    isVerified: true,
    database: 0,
    sentinels: ["a:26380", "b:26379"],
  });
  const named = redisOf(env({ ...base, REDIS_PASSWORD: "p", REDIS_SENTINEL_MASTER_NAME: "main" }));
  assert.deepEqual([named?.host, named?.password, named?.sentinelPassword], ["main", "p", "p"]);
  const other = redisOf(env({ ...base, REDIS_PASSWORD: "p", REDIS_SENTINEL_PASSWORD: "q" }));
  assert.deepEqual([other?.password, other?.sentinelPassword], ["p", "q"]);
  const none = redisOf(env({ ...base, REDIS_PASSWORD: "p", REDIS_SENTINEL_PASSWORD: "" }));
  assert.deepEqual([none?.password, none?.sentinelPassword], ["p", undefined]);
});
