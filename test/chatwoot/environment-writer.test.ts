import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as fc from "fast-check";
import { readEnvFile } from "../../src/chatwoot/environment.ts";
import { writeEnvFile } from "../../src/chatwoot/environment-writer.ts";

const env = (values: Record<string, string>) => new Map(Object.entries(values));

interface Vectors {
  cases: { text: string; values: Record<string, string> }[];
}
const vectors = JSON.parse(
  readFileSync(new URL("../fixtures/dotenv-vectors.json", import.meta.url), "utf8"),
) as Vectors;

const FILE = `# Chatwoot's own
SECRET_KEY_BASE=replace_with_lengthy_secure_hex   # must be long
export FRONTEND_URL="http://0.0.0.0:3000"

SMTP_PASSWORD='old'
EMPTY=
COLON: one
nonsense here
HOST=db
URL=postgres://$HOST/x
`;

test("only the lines that must change do, and each keeps its quotes, its comment and its place", () => {
  const values = {
    SECRET_KEY_BASE: "abc123",
    FRONTEND_URL: "https://chat.acme.example",
    SMTP_PASSWORD: "it's $new",
    EMPTY: "no more",
    COLON: "two",
    ADDED: "a b",
  };
  assert.equal(
    writeEnvFile(FILE, env(values), { note: "from a restore point" }).text,
    `# Chatwoot's own
SECRET_KEY_BASE=abc123   # must be long
export FRONTEND_URL="https://chat.acme.example"

SMTP_PASSWORD="it's \\$new"
EMPTY='no more'
COLON: two
nonsense here
HOST=db
URL=postgres://$HOST/x
# from a restore point
ADDED='a b'
`,
  );
});

test("what is there already is left as it is written", () => {
  const { text, unwritten } = writeEnvFile(FILE, readEnvFile(FILE).values);
  assert.deepEqual([text, unwritten], [FILE, []]);
});

test("a variable that is made of one which changes keeps its value", () => {
  const { text } = writeEnvFile(FILE, env({ HOST: "other" }));
  assert.equal(readEnvFile(text).values.get("URL"), "postgres://db/x");
  assert.equal(text, FILE.replace("HOST=db", "HOST=other").replace("$HOST", "db"));
});

test("of two lines with a name the one that counts is changed, and a bare export gets its value", () => {
  assert.equal(writeEnvFile("A=1\nA=2\nexport A\n", env({ A: "3" })).text, "A=1\nA=3\nexport A\n");
  assert.equal(writeEnvFile("export A\nB=1\n", env({ A: "3" })).text, "export A=3\nB=1\n");
});

test("line ends, a byte order mark and a last line without an end stay", () => {
  const text = "\uFEFFA=1\r\nB=2 # two\r\nC='x\r\ny'";
  const { text: written } = writeEnvFile(text, env({ A: "one", D: "4" }));
  assert.equal(written, "\uFEFFA=one\r\nB=2 # two\r\nC='x\r\ny'\r\nD=4\r\n");
});

test("a value that no such file can hold is told, and nothing is written for it", () => {
  const { text, unwritten } = writeEnvFile("A=1\n", env({ A: "x\ry", B: "2" }));
  assert.deepEqual([text, unwritten], ["A=1\nB=2\n", ["A"]]);
});

const name = fc.stringMatching(/^[A-Z][A-Z0-9_]{0,8}$/);
const value = fc.oneof(
  fc.string({ unit: "grapheme" }),
  fc.string({ unit: fc.constantFrom("A", "'", '"', "\\", "$", "{", "(", ")", "#", "\n", " ", "=", "n") }),
);

test("whatever is written is read again, every other variable keeps its value, and every other line its bytes", () => {
  const written = fc.oneof(
    fc.stringMatching(/^[A-Za-z0-9/:._-]{0,12}$/),
    fc.stringMatching(/^'[a-z $#"]{0,8}'$/),
    fc.stringMatching(/^"[a-z #']{0,8}"$/),
    fc.constantFrom("$A", "http://$B/", "'two\nlines'"),
  );
  const line = fc.oneof(
    fc.tuple(name, written, fc.constantFrom("", " # note")).map(([key, text, after]) => `${key}=${text}${after}`),
    fc.constantFrom("# a comment", "", "  ", "nonsense here", "export A"),
  );
  const file = fc.tuple(fc.array(line, { maxLength: 12 }), fc.constantFrom("\n", "\r\n"), fc.boolean());
  fc.assert(
    fc.property(file, fc.dictionary(name, value, { maxKeys: 5 }), ([lines, end, endsWell], given) => {
      const text = lines.join(end) + (endsWell ? end : "");
      const before = readEnvFile(text).values;
      const wanted = new Map(Object.entries(given));
      const result = writeEnvFile(text, wanted);
      const after = readEnvFile(result.text).values;
      for (const [key, expected] of new Map([...before, ...wanted])) {
        if (!result.unwritten.includes(key)) assert.equal(after.get(key), expected, key);
      }
      for (const key of result.unwritten) assert.match(wanted.get(key) ?? before.get(key) ?? "", /[\r\0\\'"\s$]/);
      // The lines of nobody who changed are there, in their order.
      const touched = new Set([...wanted.keys(), ...[...before].filter(([, v]) => v.includes("$")).map(([k]) => k)]);
      const kept = lines.filter((one) => !one.includes("$") && !touched.has(/^[A-Z0-9_]+/.exec(one)?.[0] ?? ""));
      let at = 0;
      for (const one of kept) {
        const found = result.text.replaceAll("\r\n", "\n").indexOf(one.replaceAll("\r\n", "\n"), at);
        assert.ok(found >= at, one);
        at = found;
      }
    }),
  );
});

test("values of any file of the dotenv gem's own cases can be written into an empty one", () => {
  for (const { values } of vectors.cases) {
    const wanted = env(values);
    const { text, unwritten } = writeEnvFile("", wanted);
    const read = readEnvFile(text).values;
    for (const [key, expected] of wanted) if (!unwritten.includes(key)) assert.equal(read.get(key), expected);
    for (const key of unwritten)
      assert.match(wanted.get(key) ?? "", /[\r\\]|^\s|\s$|[\0]/, JSON.stringify(wanted.get(key)));
  }
});
