// Writes docs/performance.md, its plot and its raw rows from what bench.mjs measured.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const COLUMNS = [
  'case',
  'vdconv median s',
  'spread s',
  'best peer',
  'its median s',
  'its spread s',
  'ratio, median',
  'ratio, minimum',
  'ratio, CPU',
  'size ratio',
  'du ratio',
  'MiB over idle',
  'limit',
  'holds',
];

export function writeReport(root, { machine, idle, summary, rows }) {
  const docs = join(root, 'docs');
  mkdirSync(join(docs, 'performance'), { recursive: true });
  writeFileSync(join(docs, 'performance/ratios.svg'), plot(summary));
  writeFileSync(join(docs, 'performance/rows.csv'), csv(rows));
  const table = [COLUMNS, COLUMNS.map(() => '---'), ...summary.map((row) => COLUMNS.map((key) => row[key] ?? ''))];
  const commands = summary.map(({ case: name, commands: of }) =>
    [`${name}:`, ...Object.values(of).map((command) => `    ${command}`)].join('\n'),
  );
  writeFileSync(
    join(docs, 'performance.md'),
    `# Performance

Written by \`make bench BENCH="--report --pairs all"\`, which reproduces all of it; do not edit. Each case runs vdconv and its peers in
turn, the order swapped every round, after one round that is not counted. A ratio is vdconv's time to that of the fastest
peer: below 1, vdconv is faster. Times are of the whole process, start-up included. The raw rows are in
[performance/rows.csv](performance/rows.csv); [test-images/bench](../test-images/bench/README.md) says how it is measured.

${machine.map((line) => `- ${line}`).join('\n')}
- an idle Node takes ${idle.toFixed(1)} MiB

![ratios](performance/ratios.svg)

${table.map((cells) => `| ${cells.join(' | ')} |`).join('\n')}

\`limit\` is the ratio that vdconv means to stay under. \`size ratio\` and \`du ratio\`: the output's length, and what it takes on
disk, to the peer's.

## Command lines

${commands.join('\n\n')}
`,
  );
}

function csv(rows) {
  const keys = ['case', 'round', 'side', 'wall', 'user', 'system', 'rss', 'bytes', 'allocated'];
  return `${[keys, ...rows.map((row) => keys.map((key) => row[key] ?? ''))].map((cells) => cells.join(',')).join('\n')}\n`;
}

/** Bars of the median ratios, and the limit of each as a line: log scale, 1 is the fastest peer. */
function plot(summary) {
  const [left, top, step, width] = [120, 40, 22, 560];
  const height = top + summary.length * step + 40;
  const x = (ratio) =>
    left + (width * (Math.log10(Math.max(0.02, Math.min(4, ratio))) - Math.log10(0.02))) / Math.log10(4 / 0.02);
  const ticks = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4];
  const parts = ticks.map(
    (tick) =>
      `<line x1="${x(tick)}" x2="${x(tick)}" y1="${top}" y2="${height - 30}" stroke="${tick === 1 ? '#444' : '#ddd'}"/>` +
      `<text x="${x(tick)}" y="${height - 14}" text-anchor="middle">${tick}</text>`,
  );
  summary.forEach((row, i) => {
    const y = top + i * step;
    const ratio = row['ratio, median'];
    parts.push(
      `<text x="${left - 8}" y="${y + 14}" text-anchor="end">${row.case}</text>`,
      `<rect x="${left}" y="${y + 4}" width="${Math.max(1, x(ratio) - left)}" height="13" fill="${row.holds === 'yes' ? '#3b7ddd' : '#d9534f'}"/>`,
      `<line x1="${x(row.limit)}" x2="${x(row.limit)}" y1="${y + 2}" y2="${y + 19}" stroke="#222" stroke-width="2"/>`,
      `<text x="${x(ratio) + 6}" y="${y + 14}">${ratio}</text>`,
    );
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${left + width + 60}" height="${height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
<text x="${left}" y="22" font-size="14">time of vdconv / time of the fastest peer (median; black mark: limit; 1 = as fast)</text>
${parts.join('\n')}
</svg>
`;
}
