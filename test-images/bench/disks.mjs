// Builds the disks that bench.mjs reads, once, in a directory that is kept.
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Paths of { raw, vmdk, huge } for a disk of `size` bytes with about `data` bytes of files. */
export async function makeDisks(dir, size, data) {
  mkdirSync(dir, { recursive: true });
  const stem = join(dir, `disk-${size / 1048576}M-${data / 1048576}M`);
  const disks = { raw: `${stem}.raw`, vmdk: `${stem}.vmdk`, huge: `${stem}-1T.qcow2` };
  await once(disks.raw, async (part) => {
    const files = join(dir, 'files');
    rmSync(files, { recursive: true, force: true });
    await copyFiles(files, data);
    run('truncate', '-s', String(size), part);
    run('mke2fs', '-q', '-F', '-t', 'ext4', '-U', '7d0c0a11-0000-4000-8000-0000000000be', '-d', files, part);
    rmSync(files, { recursive: true });
  });
  await once(disks.vmdk, (part) => run('qemu-img', 'convert', '-f', 'raw', '-O', 'vmdk', disks.raw, part));
  await once(disks.huge, (part) => {
    run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', disks.raw, part);
    run('qemu-img', 'resize', '-q', '-f', 'qcow2', part, '1T');
    const writes = Array.from({ length: 64 }, (_, i) => ['-c', `write -q -P ${i + 1} ${15 * (i + 1)}G 64k`]);
    run('qemu-io', '-f', 'qcow2', ...writes.flat(), part);
  });
  return disks;
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

export function run(command, ...args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
  if (error) throw new Error(`${command}: ${error.message}`);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}\nended with ${status}: ${stderr}${stdout}`);
  return stdout;
}
