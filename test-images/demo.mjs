// `make demo`: the main job on a real image, by way of the library. KEEP=1 keeps the result.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { convert, open } from '../dist/index.js';

const source = fileURLToPath(new URL('demo-disk.vmdk', import.meta.url));
const dir = await mkdtemp(join(tmpdir(), 'vdconv-demo-'));
const target = join(dir, 'demo-disk.qcow2');
try {
  console.log(`$ vdconv ${source} ${target}\n`);
  const result = await convert(source, target);
  for (const note of result.notes) console.log(`note: ${note}`);
  const before = await look(source);
  const after = await look(target);
  print('source', before);
  print('target', after);
  console.log(
    `copied in ${result.seconds.toFixed(3)} s by the ${result.engine} engine (${mib(result.dataBytes)} of data)`,
  );

  const problems = [];
  if (after.info.format !== 'qcow2') problems.push(`the target is ${after.info.format}, not qcow2`);
  if (before.info.virtualSize !== after.info.virtualSize) problems.push('the virtual sizes differ');
  if (before.digest !== after.digest) problems.push('the contents differ');
  problems.push(...askQemu());

  for (const problem of problems) console.error(`FAILED: ${problem}`);
  if (problems.length === 0) console.log('contents identical');
  else process.exitCode = 1;
} finally {
  if (process.env.KEEP) console.log(`kept: ${target}`);
  else await rm(dir, { recursive: true, force: true });
}

/** What the image says of itself, and the SHA-256 of what a guest would read. */
async function look(file) {
  const image = await open(file);
  try {
    const hash = createHash('sha256');
    const step = 4 * 1024 * 1024;
    for (let at = 0; at < image.virtualSize; at += step) {
      hash.update(await image.read(at, Math.min(step, image.virtualSize - at)));
    }
    return { info: image.info, digest: hash.digest('hex') };
  } finally {
    await image.close();
  }
}

function print(title, { info, digest }) {
  console.log(`${title}: ${info.filename}`);
  console.log(`  format        ${info.format} (${info.subformat}), unit of ${info.blockSize / 1024} KiB`);
  console.log(`  virtual size  ${mib(info.virtualSize)}`);
  console.log(
    `  file          ${mib(info.fileSize)}${info.allocatedSize === null ? '' : `, ${mib(info.allocatedSize)} on disk`}`,
  );
  console.log(`  sha256        ${digest} (of the guest's bytes)\n`);
}

/** qemu-img's opinion, where it is installed. */
function askQemu() {
  const version = spawnSync('qemu-img', ['--version'], { encoding: 'utf8' });
  if (version.error) {
    console.log('qemu-img is not installed: it was not asked');
    return [];
  }
  const problems = [];
  for (const args of [
    ['compare', '-f', 'vmdk', '-F', 'qcow2', source, target],
    ['check', '-f', 'qcow2', target],
  ]) {
    const { status, stdout, stderr } = spawnSync('qemu-img', args, { encoding: 'utf8' });
    console.log(`qemu-img ${args[0]}: ${`${stdout}${stderr}`.trim().split('\n')[0]}`);
    if (status !== 0) problems.push(`qemu-img ${args[0]} ended with ${status}`);
  }
  return problems;
}

function mib(bytes) {
  return `${(bytes / 1024 / 1024).toFixed(2)} MiB`;
}
