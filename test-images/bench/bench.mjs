// `make bench`: vdconv against its peers on the same disks, in turn; README.md beside this file says what is printed.
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CASES, caseOf, GROUPS } from './cases.mjs';
import { makeDisks } from './disks.mjs';
import { has, median, meter, round3, run } from './meter.mjs';
import { writeReport } from './report.mjs';
import { startUp } from './start.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const vdconv = [process.execPath, join(root, 'bin/vdconv.js')];
const { values: options } = parseArgs({
  options: {
    n: { type: 'string', default: '5' },
    pairs: { type: 'string', default: 'quick,start' },
    peers: { type: 'string' },
    threads: { type: 'string' },
    sync: { type: 'boolean', default: false },
    cold: { type: 'boolean', default: false },
    report: { type: 'boolean', default: false },
    dir: { type: 'string', default: join(root, '.cache/images') },
  },
});
const n = Number(options.n);
const wanted = [
  ...new Set(
    options.pairs.split(',').flatMap((name) => (name === 'all' ? Object.keys(CASES) : (GROUPS[name] ?? [name]))),
  ),
];
for (const name of wanted) {
  if (name !== 'start' && !(name in CASES)) {
    throw new Error(
      `--pairs: ${name} is none of ${['all', 'start', ...Object.keys(GROUPS), ...Object.keys(CASES)].join(', ')}`,
    );
  }
}
const names = wanted.filter((name) => name !== 'start');
const machine = [
  `${cpus().length} x ${cpus()[0]?.model}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`,
  run('qemu-img', '--version').split('\n')[0],
  run(...vdconv, '--version', '--verbose')
    .trim()
    .replaceAll('\n', ', '),
  `page cache ${options.cold ? 'dropped before each run' : 'warm'}; ${options.sync ? 'outputs synced (qemu-img -t writeback)' : 'no output synced'}; n = ${n}`,
];
console.log(machine.join('\n'));
const idle = median(Array.from({ length: 5 }, () => meter([process.execPath, '-e', 'setTimeout(() => {}, 50)']).rss));
console.log(`idle Node: ${idle.toFixed(1)} MiB; load ${loadavg()[0].toFixed(1)}\n`);

if (names.length > 0) await makeDisks(options.dir, names);
const rows = [];
const summary = names.map((name) => measure(name));
if (wanted.includes('start')) startUp(root, vdconv, n);
if (names.length > 0) {
  console.log('\nsummary (ratio: vdconv to the best peer)');
  console.table(summary.map(({ commands, limit, ...shown }) => ({ ...shown, limit })));
  mkdirSync(join(root, '.cache'), { recursive: true });
  writeFileSync(join(root, '.cache/bench.json'), JSON.stringify({ machine, idle, summary, rows }, null, 1));
}
if (options.report) writeReport(root, { machine, idle, summary, rows });

function measure(name) {
  const { source, from, to, sides: all } = caseOf(name, { ...options, vdconv });
  const sides = Object.entries(all).filter(
    ([side, { command }]) =>
      side === 'vdconv' || (has(command[0]) && (options.peers?.split(',').includes(side) ?? true)),
  );
  console.log(`\n${name}`);
  for (let round = 0; round <= n; round += 1) {
    for (const [side, { command, output }] of round % 2 === 0 ? sides : sides.toReversed()) {
      settle();
      const result = meter(command);
      const size = output === undefined ? undefined : statSync(output);
      if (round === 0) {
        if (side === 'vdconv' && output !== undefined) checkContent(source, from, output, to);
        continue;
      }
      rows.push({
        case: name,
        round,
        side,
        ...result,
        ...(size && { bytes: size.size, allocated: size.blocks * 512 }),
      });
      const { wall, cpu, rss } = result;
      console.log(
        `${String(round).padStart(3)}  ${side.padEnd(18)}${wall.toFixed(3).padStart(9)} s wall${cpu.toFixed(3).padStart(9)} s CPU${rss.toFixed(1).padStart(8)} MiB`,
      );
    }
  }
  settle();
  return summarise(name, sides);
}

function summarise(name, sides) {
  const of = (side, key) => rows.filter((row) => row.case === name && row.side === side).map((row) => row[key]);
  const peers = sides.map(([side]) => side).filter((side) => side !== 'vdconv');
  const best = peers.toSorted((a, b) => median(of(a, 'wall')) - median(of(b, 'wall')))[0];
  const ratio = (key, by) => round3(by(of('vdconv', key)) / by(of(best, key)));
  const least = (values) => Math.min(...values);
  const limit = CASES[name];
  return {
    case: name,
    'vdconv median s': round3(median(of('vdconv', 'wall'))),
    'spread s': `${least(of('vdconv', 'wall')).toFixed(2)}-${Math.max(...of('vdconv', 'wall')).toFixed(2)}`,
    'best peer': best,
    'its median s': round3(median(of(best, 'wall'))),
    'its spread s': `${least(of(best, 'wall')).toFixed(2)}-${Math.max(...of(best, 'wall')).toFixed(2)}`,
    'ratio, median': ratio('wall', median),
    'ratio, minimum': ratio('wall', least),
    'ratio, CPU': ratio('cpu', median),
    'MiB over idle': round3(Math.max(...of('vdconv', 'rss')) - idle),
    ...(of('vdconv', 'bytes')[0] === undefined
      ? {}
      : { 'size ratio': ratio('bytes', median), 'du ratio': ratio('allocated', median) }),
    limit,
    holds: ratio('wall', median) <= limit ? 'yes' : 'NO',
    commands: Object.fromEntries(sides.map(([side, { command }]) => [side, show(command)])),
  };
}

/** The first output of each case is the source's content, by a program that is not vdconv. */
function checkContent(source, from, output, to) {
  const qemu = { vhd: 'vpc' };
  run('qemu-img', 'compare', '-f', qemu[from] ?? from, '-F', qemu[to] ?? to, source, output);
  if (to === 'qcow2') run('qemu-img', 'check', '-q', '-f', to, output);
  console.log('content: identical to the source by qemu-img compare');
}

/**
 * The same state before every run: no output of an earlier one, nothing waiting to be written. With two outputs in memory
 * whichever tool comes second pays for the first one's dirty pages: a factor of four, measured.
 */
function settle() {
  rmSync(join(options.dir, 'out'), { recursive: true, force: true });
  mkdirSync(join(options.dir, 'out'));
  run('sync');
  if (options.cold) writeFileSync('/proc/sys/vm/drop_caches', '3');
}

/** As a reader types it, from the repository's folder. */
function show(command) {
  return command
    .map((word) => word.replace(process.execPath, 'node').replace(options.dir, '.cache/images').replace(root, ''))
    .join(' ');
}
