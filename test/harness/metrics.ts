/** Reads Prometheus's text format 0.0.4 strictly: what this refuses, node_exporter would refuse or misread. */
import assert from "node:assert/strict";

export interface Family {
  type: string;
  samples: { labels: Record<string, string>; value: number }[];
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)",?/y;

export function parseMetrics(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  const helped = new Set<string>();
  assert.ok(text.endsWith("\n"), "the last line ends, too");
  for (const line of text.slice(0, -1).split("\n")) {
    const help = new RegExp(`^# HELP (${NAME}) .+$`).exec(line)?.[1];
    const typed = new RegExp(`^# TYPE (${NAME}) (gauge|counter)$`).exec(line);
    if (help !== undefined) {
      assert.ok(!helped.has(help), `${help} is explained once`);
      helped.add(help);
    } else if (typed?.[1] !== undefined) {
      assert.ok(helped.has(typed[1]) && !families.has(typed[1]), line);
      families.set(typed[1], { type: typed[2] ?? "", samples: [] });
    } else addSample(families, line);
  }
  return families;
}

function addSample(families: Map<string, Family>, line: string): void {
  const [, name = "", labels = "", value = ""] = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (\\S+)$`).exec(line) ?? [];
  // The samples of a family stand together, below its type.
  assert.equal([...families.keys()].at(-1), name, line);
  const found: Record<string, string> = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < labels.length) {
    const match = LABEL.exec(labels);
    assert.ok(match !== null, line);
    found[match[1] ?? ""] = JSON.parse(`"${match[2] ?? ""}"`) as string;
  }
  assert.ok(Number.isFinite(Number(value)), line);
  families.get(name)?.samples.push({ labels: found, value: Number(value) });
}
