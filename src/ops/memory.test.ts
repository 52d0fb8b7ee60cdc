/** A terabyte in little memory and time: what a process of its own takes over one that only loads Node. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MiB, TiB } from '../base/units.ts';
import { type ConvertOptions, engineName } from '../index.ts';
import { buildLibrary } from '../testing/built.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { qemuIo } from '../testing/qemu-io.ts';
import { seededDisk } from '../testing/seeded-disk.ts';

let dir: string;
let library: string;
let idle: number;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'vdconv-memory-'));
  library = await buildLibrary(dir);
  idle = (await child()).peak;
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const at = (name: string) => join(dir, name);

const SCRIPT = `
  const [library, job] = process.argv.slice(1);
  const begun = performance.now();
  // A test that gave up does not leave this running.
  setTimeout(() => process.exit(1), 100_000).unref();
  if (job !== undefined) {
    const { convert } = await import(library);
    for (const [source, target, options] of JSON.parse(job)) await convert(source, target, options);
  }
  console.log(JSON.stringify({
    peak: process.resourceUsage().maxRSS * 1024, seconds: (performance.now() - begun) / 1000,
  }));
`;

type Job = readonly [source: string, target: string, options: ConvertOptions];

/** Peak resident bytes and seconds of a Node process that does `jobs`. */
async function child(...jobs: Job[]): Promise<{ peak: number; seconds: number }> {
  const args = ['--input-type=module', '-e', SCRIPT, ...(jobs.length > 0 ? [library, JSON.stringify(jobs)] : [])];
  // Through a shell that forks: an exec'd process would inherit the peak of this one.
  const line = ['-c', '"$0" "$@"; exit $?', process.execPath, ...args];
  const { stdout } = await promisify(execFile)('sh', line);
  return JSON.parse(stdout);
}

async function expectSmall(...jobs: Job[]): Promise<void> {
  const { peak, seconds } = await child(...jobs);
  expect((peak - idle) / MiB).toBeLessThan(100);
  expect(seconds).toBeLessThan(20);
}

const OVER: ConvertOptions = { force: true, noSync: true };

test('an idle Node is what it is known to be', () => {
  expect(idle / MiB).toBeGreaterThan(20);
  expect(idle / MiB).toBeLessThan(100);
});

test('a sparse raw disk of 1 TiB to every format and back', { timeout: 120_000 }, async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const { name } = await engineName();
  ctx.skip(name === 'portable', 'the portable engine sees no holes: it reads all of the terabyte');
  const at1T = [0, 123 * MiB + 512, TiB / 2, TiB - 4096];
  await writeFile(at('in.raw'), '');
  await truncate(at('in.raw'), TiB);
  await qemuIo(at('in.raw'), 'raw', ...at1T.map((offset, i) => `write -P ${i + 1} ${offset} 4096`));
  for (const [target, options] of [
    ['out.qcow2', {}],
    ['out.qcow2', { compress: true }],
    ['out.vmdk', {}],
    ['out.vmdk', { targetOptions: { subformat: 'streamOptimized' } }],
  ] as const) {
    await expectSmall([at('in.raw'), at(target), { ...OVER, ...options }]);
    await expectSmall([at(target), at('back.raw'), OVER]);
    for (const [name, format] of [
      [target, target.replace('out.', '')],
      ['back.raw', 'raw'],
    ] as const) {
      expect(await qemu.size(at(name), format)).toBe(TiB);
      await qemuIo(at(name), format, ...at1T.map((offset, i) => `read -P ${i + 1} ${offset} 4096`));
      await qemuIo(at(name), format, `read -P 0 4096 1M`, `read -P 0 ${TiB - MiB} ${MiB - 4096}`);
    }
  }
});

test('a sparse QCOW2 image of 1 TiB that qemu-img made', { timeout: 120_000 }, async (ctx) => {
  const qemu = need(ctx, qemuImg());
  await qemu.run('create', '-q', '-f', 'qcow2', at('in.qcow2'), '1T');
  await qemuIo(at('in.qcow2'), 'qcow2', 'write -P 1 0 1M', 'write -P 2 600G 64k', 'write -z 700G 1G');
  for (const target of ['copy.qcow2', 'copy.raw', 'copy.vmdk']) {
    await expectSmall([at('in.qcow2'), at(target), OVER]);
  }
  const { identical, message } = await qemu.compare(at('in.qcow2'), 'qcow2', at('copy.qcow2'), 'qcow2');
  expect(identical, message).toBe(true);
});

test('64 MiB of data, small clusters, 16 threads, several jobs in a row', { timeout: 120_000 }, async () => {
  await seededDisk(31, 64 * MiB).writeRawFile(at('data.raw'));
  const options: ConvertOptions = { ...OVER, threads: 16 };
  await expectSmall(
    [at('data.raw'), at('data.qcow2'), { ...options, targetOptions: { cluster_size: 512 } }],
    [at('data.qcow2'), at('data.vmdk'), options],
    [at('data.vmdk'), at('small.qcow2'), { ...options, compress: true }],
    [at('small.qcow2'), at('data.vmdk'), { ...options, targetOptions: { subformat: 'streamOptimized' } }],
    [at('data.vmdk'), at('last.raw'), options],
  );
});
