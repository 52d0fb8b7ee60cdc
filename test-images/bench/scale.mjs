// `make bench-scale`: time and memory against the disk's size, the data on it, how scattered that is, and threads.
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median, meter, round3, run } from './meter.mjs';
import { linePlots } from './plots.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const vdconv = [process.execPath, join(root, 'bin/vdconv.js')];
const { values: options } = parseArgs({
  options: {
    n: { type: 'string', default: '3' },
    dir: { type: 'string', default: join(root, '.cache/scale') },
    report: { type: 'boolean', default: false },
  },
});
const [GiB, MiB] = [2 ** 30, 2 ** 20];
const CLUSTER = 64 * 1024;
rmSync(options.dir, { recursive: true, force: true });
mkdirSync(options.dir, { recursive: true });
const idle = median(Array.from({ length: 5 }, () => meter([process.execPath, '-e', 'setTimeout(() => {}, 50)']).rss));

const series = [
  {
    name: 'size of the disk, 64 MiB of data',
    unit: 'GiB',
    points: [1, 16, 256, 1024, 4096, 16384].map((size) => ({ at: size, image: { size: size * GiB, data: 64 * MiB } })),
  },
  {
    name: 'data on a disk of 64 GiB',
    unit: 'MiB',
    points: [64, 256, 1024, 2048].map((data) => ({ at: data, image: { size: 64 * GiB, data: data * MiB } })),
  },
  {
    name: 'fragments of 64 KiB in 1 GiB of data, disk of 1 TiB',
    unit: 'fragments',
    points: [16, 256, 4096, 16384].map((runs) => ({ at: runs, image: { size: 1024 * GiB, data: GiB, runs } })),
  },
  {
    name: 'threads, 1 GiB of data, compressed',
    unit: 'threads',
    points: [1, 2, 4, 8].map((threads) => ({
      at: threads,
      image: { size: 8 * GiB, data: GiB },
      flags: ['-c', '-m', `${threads}`],
    })),
  },
];

for (const { name, unit, points } of series) {
  console.log(`\n${name}`);
  for (const point of points) {
    const source = join(options.dir, 'source.qcow2');
    const target = join(options.dir, 'target.qcow2');
    makeImage(source, point.image);
    const command = [...vdconv, 'convert', '-q', '--no-sync', '--force', ...(point.flags ?? []), source, target];
    meter(command);
    const runs = Array.from({ length: Number(options.n) }, () => meter(command));
    run('qemu-img', 'check', '-q', target);
    run('qemu-img', 'compare', '-q', source, target);
    point.seconds = median(runs.map(({ wall }) => wall));
    point.memory = Math.max(...runs.map(({ rss }) => rss)) - idle;
    rmSync(target);
    console.log(
      `${String(point.at).padStart(8)} ${unit}: ${point.seconds.toFixed(3)} s, ${point.memory.toFixed(1)} MiB over an idle Node`,
    );
  }
}
rmSync(options.dir, { recursive: true });
if (options.report) {
  mkdirSync(join(root, 'docs/performance'), { recursive: true });
  writeFileSync(join(root, 'docs/performance/scale.svg'), linePlots(series));
  const rows = series.flatMap(({ name, points }) =>
    points.map(({ at, seconds, memory }) => `"${name}",${at},${round3(seconds)},${round3(memory)}`),
  );
  writeFileSync(
    join(root, 'docs/performance/scale.csv'),
    `${['series,at,seconds,MiB over idle Node', ...rows].join('\n')}\n`,
  );
}

/** A QCOW2 image by qemu-io: `data` bytes in `runs` pieces, evenly over the disk. Content differs from cluster to cluster. */
function makeImage(path, { size, data, runs = 16 }) {
  run('qemu-img', 'create', '-q', '-f', 'qcow2', path, String(size));
  const length = Math.max(CLUSTER, Math.floor(data / runs / CLUSTER) * CLUSTER);
  const step = Math.floor(size / runs / CLUSTER) * CLUSTER;
  const piece = 16 * MiB;
  const lines = [];
  for (let i = 0; i < runs; i += 1) {
    for (let at = 0; at < length; at += piece) {
      lines.push(`write -q -P ${((i * 7 + at / piece) % 250) + 1} ${i * step + at} ${Math.min(piece, length - at)}`);
    }
  }
  const { status, stderr } = spawnSync('qemu-io', ['-t', 'unsafe', '-f', 'qcow2', path], {
    input: `${lines.join('\n')}\nquit\n`,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`qemu-io: ${stderr}`);
}
