// Start-up in turn, many times: milliseconds over `node -e 0`, held against what vdconv promises.
import { readFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { median, meter, round3 } from './meter.mjs';

export function startUp(root, vdconv, n) {
  const { images } = JSON.parse(readFileSync(join(root, 'test-images/manifest.json'), 'utf8'));
  const base = { name: 'node -e 0', command: [process.execPath, '-e', '0'], times: [] };
  const starts = [
    base,
    { name: 'vdconv --version', command: [...vdconv, '--version'], limit: 25, times: [] },
    ...images.map(({ file, expected }) => ({
      name: `vdconv info ${file}`,
      command: [...vdconv, 'info', join(root, 'test-images', file)],
      limit: 40,
      times: [],
      status: expected === 'ok' ? 0 : 3,
    })),
  ];
  const rounds = Math.max(31, 2 * n);
  for (let round = 0; round <= rounds; round += 1) {
    for (const { command, times, status } of starts) {
      const { wall } = meter(command, status ?? 0);
      if (round > 0) times.push(wall * 1000);
    }
  }
  // Where others want the CPUs too, medians tell of them; the shortest runs were the least disturbed.
  const busy = loadavg()[0] > cpus().length;
  const rows = starts.map(({ name, limit, times }) => {
    const [min, mid] = [Math.min(...times), median(times)];
    const over = { min: min - Math.min(...base.times), median: mid - median(base.times) };
    const row = { command: name, 'min ms': round3(min), 'median ms': round3(mid) };
    if (limit === undefined) return row;
    const holds = (busy ? over.min : over.median) <= limit ? 'yes' : 'NO';
    return { ...row, 'over, min': round3(over.min), 'over, median': round3(over.median), limit, holds };
  });
  console.log(`\nstart-up, ${rounds} runs; over: over the same of node -e 0; held against the limit by the`);
  console.log(busy ? `minimum, because the machine is busy (load ${loadavg()[0].toFixed(1)})` : 'median');
  console.table(rows);
  const broken = rows.filter(({ holds }) => holds === 'NO').length;
  console.log(broken === 0 ? 'every start is within its limit' : `over the limit: ${broken} of ${rows.length - 1}`);
  return rows;
}
