// Prints `N passed, N failed, N skipped` over what .ci/run's steps left in a directory: NAME.status (exit status),
// NAME.log (output; cargo's result lines are read from it), NAME.json (vitest's numbers). Exit status 1 on any failure.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const dir = process.argv[2] ?? '.cache/ci';
const sum = { passed: 0, failed: 0, skipped: 0 };
for (const file of readdirSync(dir).filter((name) => name.endsWith('.status'))) {
  const name = file.slice(0, -'.status'.length);
  const counted = name === 'check' ? { passed: 0, failed: 0, skipped: 0 } : numbers(name); // its rooms test runs again in `test`
  const broken = readFileSync(join(dir, file), 'utf8').trim() !== '0';
  // A step that failed without a failing test (lint, compiler, installation, a crash) counts as one failure.
  if (broken && counted.failed === 0) counted.failed = 1;
  for (const key of Object.keys(sum)) sum[key] += counted[key];
}
if (sum.passed + sum.failed === 0) sum.failed = 1; // nothing ran
console.log(`wasm-check: ${wasmCheck()}`);
console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
process.exitCode = sum.failed === 0 ? 0 : 1;

function numbers(name) {
  const n = { passed: 0, failed: 0, skipped: 0 };
  const json = join(dir, `${name}.json`);
  if (existsSync(json)) {
    const report = JSON.parse(readFileSync(json, 'utf8'));
    n.passed += report.numPassedTests;
    n.failed += report.numFailedTests;
    n.skipped += report.numPendingTests + report.numTodoTests;
    // A test file that could not even be loaded has no tests, and is a failure.
    n.failed += report.testResults.filter((f) => f.status === 'failed' && f.assertionResults.length === 0).length;
  }
  const log = readFileSync(join(dir, `${name}.log`), 'utf8');
  for (const m of log.matchAll(/^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/gm)) {
    n.passed += Number(m[1]);
    n.failed += Number(m[2]);
    n.skipped += Number(m[3]);
  }
  const check = /^wasm-check: (passed|failed|skipped)\b/m.exec(log)?.[1];
  if (check !== undefined) n[check] += 1;
  return n;
}

/** `passed`, `failed`, `skipped`, or that there was no reason to run it. */
function wasmCheck() {
  const file = join(dir, 'wasm-check.log');
  if (!existsSync(file)) return 'nothing to check';
  return /^wasm-check: (\w+)/m.exec(readFileSync(file, 'utf8'))?.[1] ?? 'failed';
}
