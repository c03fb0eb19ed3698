// The site's own scripts, by TypeScript's strictest reading of their JSDoc.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import test from "node:test";

const compiler = "node_modules/typescript/bin/tsc";
const checked = spawnSync(process.execPath, [compiler, "--pretty", "false", "--listFiles"], {
  cwd: import.meta.dirname,
  encoding: "utf8",
});
const lines = (checked.stdout + checked.stderr).split("\n");

for (const script of readdirSync(`${import.meta.dirname}/static`)) {
  test(`${script}: types`, () => {
    assert.ok(lines.some((line) => line.endsWith(`/static/${script}`)), `${script} was not read`);
    const problems = lines.filter((line) => line.startsWith(`static/${script}(`));
    assert.ok(problems.length === 0, problems.join("\n"));
  });
}

test("the compiler has nothing else to say", () => {
  const problems = lines.filter((line) => line.includes("error TS") && !line.startsWith("static/"));
  assert.ok(problems.length === 0 && checked.status !== null, problems.join("\n"));
});
