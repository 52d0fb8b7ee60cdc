// Finds or builds the disks that are measured, once, in a directory that is kept.

import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './meter.mjs';

const VARIANTS = fileURLToPath(new URL('../debian/make-variants.sh', import.meta.url));
const MiB = 1 << 20;

/** What `make images` leaves; without it a file system of this machine's own files stands in for the Debian disk. */
export async function makeDisks(dir, wanted) {
  mkdirSync(join(dir, 'out'), { recursive: true });
  if (!existsSync(join(dir, 'disk.raw'))) {
    console.log('no Debian disk (make images builds it): a file system of 8 GiB with copies of /usr stands in for it');
    await once(join(dir, 'disk.raw'), (part) => usrDisk(dir, part));
  }
  run(VARIANTS, dir);
  if (wanted.some((name) => name.startsWith('huge-'))) {
    await once(join(dir, 'huge.qcow2'), hugeDisk);
    await once(join(dir, 'huge-copy.qcow2'), (part) => copyFile(join(dir, 'huge.qcow2'), part));
  }
  if (wanted.some((name) => name.startsWith('noise-'))) await once(join(dir, 'noise.raw'), noise);
}

/** 1 TiB with 1.2 GB in clusters that lie far apart: each in an L2 table that it shares with few. */
function hugeDisk(part) {
  run('qemu-img', 'create', '-q', '-f', 'qcow2', part, '1T');
  const writes = Array.from({ length: 18_000 }, (_, i) => `write -q -P ${(i % 250) + 1} ${i * 58}M 64k\n`).join('');
  const { status, stderr } = spawnSync('qemu-io', ['-t', 'unsafe', '-f', 'qcow2', part], {
    input: `${writes}quit\n`,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`qemu-io: ${stderr}`);
}

/** 2 GiB that do not shrink. */
function noise(part) {
  const fd = openSync(part, 'w');
  for (let i = 0; i < 128; i += 1) writeSync(fd, randomBytes(16 * MiB));
  closeSync(fd);
}

async function usrDisk(dir, part) {
  const files = join(dir, 'files');
  rmSync(files, { recursive: true, force: true });
  await copyFiles(files, 2048 * MiB);
  run('truncate', '-s', '8G', part);
  run('mke2fs', '-q', '-F', '-t', 'ext4', '-U', '7d0c0a11-0000-4000-8000-0000000000be', '-d', files, part);
  rmSync(files, { recursive: true });
}

/** Copies this machine's programs and libraries, in the order of their names, until `data` bytes are there. */
async function copyFiles(to, data) {
  let left = data;
  for (let round = 0; left > 0; round += 1) {
    const before = left;
    for (const top of ['/usr/bin', '/usr/lib', '/usr/share', '/usr/local', '/usr/include']) {
      if (existsSync(top)) await copyFrom(top, join(to, `copy-${round}`, top));
    }
    if (left === before) throw new Error('/usr has no files to copy');
  }

  async function copyFrom(folder, target) {
    const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
    mkdirSync(target, { recursive: true });
    for (const entry of entries) {
      if (left <= 0) return;
      const from = join(folder, entry.name);
      if (entry.isDirectory()) await copyFrom(from, join(target, entry.name));
      if (!entry.isFile()) continue;
      await copyFile(from, join(target, entry.name));
      left -= Math.max(4096, lstatSync(from).size);
    }
  }
}

async function once(file, make) {
  if (existsSync(file)) return;
  console.log(`building ${file}`);
  rmSync(`${file}.part`, { force: true });
  await make(`${file}.part`);
  renameSync(`${file}.part`, file);
}
