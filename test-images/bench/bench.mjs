// `make bench`: vdconv against qemu-img on the same disks, in turn; README.md beside this file says what is printed.
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, statSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { makeDisks, run } from './disks.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const vdconv = [process.execPath, join(root, 'bin/vdconv.js')];
const { values: options } = parseArgs({
  options: {
    n: { type: 'string', default: '5' },
    pairs: { type: 'string', default: 'raw-qcow2,vmdk-qcow2,raw-raw,huge-qcow2,start' },
    size: { type: 'string', default: '8G' },
    data: { type: 'string', default: '2G' },
    threads: { type: 'string' },
    dir: { type: 'string', default: join(root, '.cache/bench') },
  },
});
const n = Number(options.n);
const pairs = {
  'raw-qcow2': ['raw', 'raw', 'qcow2'],
  'vmdk-qcow2': ['vmdk', 'vmdk', 'qcow2'],
  'raw-raw': ['raw', 'raw', 'raw'],
  'huge-qcow2': ['huge', 'qcow2', 'qcow2'],
};
const wanted = options.pairs.split(',');
for (const name of wanted) {
  if (name !== 'start' && !(name in pairs))
    throw new Error(`--pairs: ${name} is not one of ${Object.keys(pairs)},start`);
}

// The measured command is the only child of this: wall, user and system seconds, peak memory in KiB, exit status.
const METER = `import os, resource, subprocess, sys, time
t = time.monotonic()
p = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
w = time.monotonic() - t
u = resource.getrusage(resource.RUSAGE_CHILDREN)
print(w, u.ru_utime, u.ru_stime, u.ru_maxrss, p.returncode)`;

console.log(
  `${cpus().length} x ${cpus()[0]?.model}, Node ${process.version}, ${run('qemu-img', '--version').split('\n')[0]}`,
);
console.log(run(...vdconv, '--version', '--verbose').trim());
const idle = median(Array.from({ length: 5 }, () => meter(process.execPath, '-e', 'setTimeout(() => {}, 50)').rss));
console.log(`idle Node: ${idle.toFixed(1)} MiB\n`);

const summary = [];
const names = wanted.filter((name) => name !== 'start');
if (names.length > 0) {
  const disks = await makeDisks(options.dir, bytes(options.size), bytes(options.data));
  for (const disk of new Set(names.map((name) => pairs[name][0]))) {
    const { size, blocks } = statSync(disks[disk]);
    console.log(`${disks[disk]}: ${mib(size)} MiB, ${mib(blocks * 512)} MiB on disk`);
  }
  for (const name of names) compare(name, disks);
}
if (wanted.includes('start')) startUp();
if (names.length > 0) {
  console.log('\nsummary');
  console.table(summary);
}

function compare(name, disks) {
  const [disk, from, to] = pairs[name];
  const source = disks[disk];
  const out = { vdconv: join(options.dir, `out-vdconv.${to}`), qemu: join(options.dir, `out-qemu.${to}`) };
  const threads = options.threads === undefined ? [] : ['-m', options.threads];
  const commands = {
    vdconv: [...vdconv, 'convert', '-q', '--no-sync', ...threads, '-f', from, '-O', to, source, out.vdconv],
    qemu: ['qemu-img', 'convert', '-W', '-m', '16', '-f', from, '-O', to, source, out.qemu],
  };
  const rows = [];
  console.log(`\n${name}`);
  for (let round = 0; round <= n; round += 1) {
    for (const tool of round % 2 === 0 ? ['vdconv', 'qemu'] : ['qemu', 'vdconv']) {
      settle(out);
      const result = meter(...commands[tool]);
      if (round > 0) rows.push({ round, tool, ...result });
    }
    if (round === 0) {
      settle(out);
      meter(...commands.vdconv);
      run('qemu-img', 'compare', '-f', from, '-F', to, source, out.vdconv);
      if (to === 'qcow2') run('qemu-img', 'check', '-f', to, out.vdconv);
      console.log(`content: identical to the source by qemu-img compare${to === 'qcow2' ? ', check is clean' : ''}`);
    }
  }
  for (const file of Object.values(out)) rmSync(file, { force: true });
  table(rows);
  const [a, b] = ['vdconv', 'qemu'].map((tool) => rows.filter((row) => row.tool === tool));
  const of = (side, key) => side.map((row) => row[key]);
  const cpu = (side) => side.map((row) => row.user + row.system);
  summary.push({
    pair: name,
    'vdconv min s': round3(Math.min(...of(a, 'wall'))),
    'qemu-img min s': round3(Math.min(...of(b, 'wall'))),
    'ratio of minima': round3(Math.min(...of(a, 'wall')) / Math.min(...of(b, 'wall'))),
    'vdconv median s': round3(median(of(a, 'wall'))),
    'qemu-img median s': round3(median(of(b, 'wall'))),
    'ratio of medians': round3(median(of(a, 'wall')) / median(of(b, 'wall'))),
    'ratio of CPU': round3(median(cpu(a)) / median(cpu(b))),
    'peak MiB over idle Node': round3(Math.max(...of(a, 'rss')) - idle),
  });
}

/**
 * The same state before every run: no output of an earlier one, nothing waiting to be written. With two outputs in memory
 * whichever tool comes second pays for the first one's dirty pages: a factor of four, measured.
 */
function settle(outputs) {
  for (const file of Object.values(outputs)) rmSync(file, { force: true });
  run('sync');
}

/** Start-up in turn, many times: milliseconds over `node -e 0`, held against what vdconv promises. */
function startUp() {
  const { images } = JSON.parse(readFileSync(join(root, 'test-images/manifest.json'), 'utf8'));
  const base = { name: 'node -e 0', command: [process.execPath, '-e', '0'], times: [] };
  const starts = [
    base,
    { name: 'vdconv --version', command: [...vdconv, '--version'], limit: 25, times: [] },
    ...images.map(({ file, expected }) => ({
      name: `vdconv info ${file}`,
      command: [...vdconv, 'info', join(root, 'test-images', file)],
      limit: 60,
      times: [],
      status: expected === 'ok' ? 0 : 3,
    })),
  ];
  const rounds = Math.max(31, 2 * n);
  for (let round = 0; round <= rounds; round += 1) {
    for (const { command, times, status } of starts) {
      const { wall } = expecting(status ?? 0, ...command);
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
}

function meter(...command) {
  return expecting(0, ...command);
}

function expecting(wanted, ...command) {
  const { stdout, stderr } = spawnSync('python3', ['-c', METER, ...command], { encoding: 'utf8' });
  const [wall, user, system, rss, status] = stdout.trim().split(' ').map(Number);
  if (status !== wanted) throw new Error(`${command.join(' ')}\nended with ${status}: ${stderr}`);
  return { wall, user, system, rss: rss / 1024 };
}

function table(rows) {
  console.log('round  tool     wall s   user s    sys s   peak MiB');
  for (const { round, tool, wall, user, system, rss } of rows) {
    const [w, u, s] = [wall, user, system].map((x) => x.toFixed(3).padStart(9));
    console.log(`${String(round).padStart(5)}  ${tool.padEnd(6)}${w}${u}${s}${rss.toFixed(1).padStart(11)}`);
  }
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function bytes(text) {
  const [, number, unit = ''] = /^(\d+)([KMGT]?)$/i.exec(text) ?? [];
  if (number === undefined) throw new Error(`'${text}' is not a size such as 8G`);
  return Number(number) * 1024 ** ' KMGT'.indexOf(unit.toUpperCase() || ' ');
}

function mib(size) {
  return Math.round(size / 1024 / 1024);
}

function round3(value) {
  return Math.round(value * 1000) / 1000;
}
