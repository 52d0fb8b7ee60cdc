import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { commit, createOutput } from './output.ts';

let dir: string;
let target: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'vdconv-output-'));
  target = join(dir, 'disk.qcow2');
});
afterEach(() => {
  rmSync(dir, { recursive: true });
});

const text = (words: string) => new TextEncoder().encode(words);
const failure = (attempt: Promise<unknown>) =>
  attempt.then(
    () => 'no error',
    (error) => `${error.code} ${error.message}`,
  );

describe('createOutput', () => {
  it('shows the file under its name only after the commit', async () => {
    const output = await createOutput(target);
    await output.write(0, text('head'));
    await output.write(8, text('tail'));
    await output.truncate(16);
    const [only, ...others] = readdirSync(dir);
    expect(others).toEqual([]);
    expect(only).toMatch(/^\.disk\.qcow2\.vdconv-[0-9a-f]{12}$/);
    await commit([output]);
    expect(readdirSync(dir)).toEqual(['disk.qcow2']);
    expect(readFileSync(target, 'latin1')).toBe('head\0\0\0\0tail\0\0\0\0');
    output.discard();
    expect(readdirSync(dir)).toEqual(['disk.qcow2']);
  });

  it('writes a large piece whole', async () => {
    const output = await createOutput(target);
    const piece = Uint8Array.from({ length: 3_000_000 }, (_, i) => i % 253);
    await output.write(1000, piece);
    await commit([output]);
    const written = readFileSync(target);
    expect(written.length).toBe(3_001_000);
    expect(written.subarray(1000).equals(piece)).toBe(true);
  });

  it('leaves nothing after discard, however often', async () => {
    const output = await createOutput(target);
    await output.write(0, text('half'));
    output.discard();
    output.discard();
    expect(readdirSync(dir)).toEqual([]);
  });

  it('refuses an existing target at once, and leaves it alone', async () => {
    writeFileSync(target, 'old');
    expect(await failure(createOutput(target))).toBe(`exists ${target}: the file exists; add --force to replace it`);
    expect(readdirSync(dir)).toEqual(['disk.qcow2']);
    expect(readFileSync(target, 'utf8')).toBe('old');
  });

  it('keeps a target that appeared during the work', async () => {
    const output = await createOutput(target);
    await output.write(0, text('new'));
    writeFileSync(target, 'from elsewhere');
    expect(await failure(commit([output]))).toBe(`exists ${target}: the file exists; add --force to replace it`);
    expect(readFileSync(target, 'utf8')).toBe('from elsewhere');
    expect(readdirSync(dir)).toEqual(['disk.qcow2']);
  });

  it('replaces with force only at the commit, keeps the mode, and says which file it replaces', async () => {
    writeFileSync(target, 'old');
    chmodSync(target, 0o662);
    const output = await createOutput(target, { force: true });
    expect(output.replaces?.ino).toBe(statSync(target, { bigint: true }).ino);
    await output.write(0, text('new'));
    expect(readFileSync(target, 'utf8')).toBe('old');
    await commit([output]);
    expect(readFileSync(target, 'utf8')).toBe('new');
    expect(statSync(target).mode & 0o777).toBe(0o662);
  });

  it('keeps the old target when the work with force is discarded', async () => {
    writeFileSync(target, 'old');
    const output = await createOutput(target, { force: true });
    await output.write(0, text('new'));
    output.discard();
    expect(readFileSync(target, 'utf8')).toBe('old');
    expect(readdirSync(dir)).toEqual(['disk.qcow2']);
  });

  it('gives a new file the mode that the umask leaves', async () => {
    const before = process.umask(0o027);
    try {
      const output = await createOutput(target, { noSync: true });
      await commit([output]);
    } finally {
      process.umask(before);
    }
    expect(statSync(target).mode & 0o777).toBe(0o640);
  });

  it('replaces the file that a symbolic link leads to, in its own directory', async () => {
    mkdirSync(join(dir, 'real'));
    writeFileSync(join(dir, 'real', 'disk'), 'old');
    symlinkSync('real/disk', target);
    expect(await failure(createOutput(target))).toMatch(/^exists /);
    const output = await createOutput(target, { force: true });
    expect(readdirSync(join(dir, 'real'))).toHaveLength(2);
    await output.write(0, text('new'));
    await commit([output]);
    expect(lstatSync(target).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(dir, 'real', 'disk'), 'utf8')).toBe('new');
  });

  it('breaks no other name of a file that it replaces', async () => {
    writeFileSync(target, 'old');
    linkSync(target, join(dir, 'other'));
    const output = await createOutput(target, { force: true });
    await output.write(0, text('new'));
    await commit([output]);
    expect(readFileSync(join(dir, 'other'), 'utf8')).toBe('old');
  });

  it('takes a name as long as the file system allows', async () => {
    const long = join(dir, `${'ü'.repeat(127)}x`);
    const output = await createOutput(long);
    expect(Buffer.byteLength(readdirSync(dir)[0] ?? '')).toBeLessThanOrEqual(255);
    await commit([output]);
    expect(readdirSync(dir)).toEqual([`${'ü'.repeat(127)}x`]);
  });

  it('says what stands in the way of a target', async () => {
    expect(await failure(createOutput(dir, { force: true }))).toBe(
      `write ${dir}: is a directory; vdconv writes only regular files so far`,
    );
    expect(await failure(createOutput('/dev/null', { force: true }))).toBe(
      'write /dev/null: is a character device; vdconv writes only regular files so far',
    );
    const missing = join(dir, 'none', 'disk.qcow2');
    expect(await failure(createOutput(missing))).toBe(
      `write ${missing}: cannot create the file: its directory does not exist`,
    );
    symlinkSync('nowhere', target);
    expect(await failure(createOutput(target, { force: true }))).toBe(
      `write ${target}: is a symbolic link to a file that does not exist; name that file instead, or remove the link`,
    );
    writeFileSync(join(dir, 'file'), '');
    const under = join(dir, 'file', 'disk.qcow2');
    expect(await failure(createOutput(under))).toBe(
      `write ${under}: cannot look at the target: a part of the path is not a directory (ENOTDIR)`,
    );
    expect(await failure(createOutput(`${dir}/new/`))).toBe(`write ${dir}/new/: is no file name`);
  });
});

/** Tests of real faults mount small file systems, which takes root. */
const canMount = process.getuid?.() === 0 && spawnSync('sh', ['-c', 'unshare -m true']).status === 0;

describe.runIf(canMount)('on a file system that fails', () => {
  let mounted: string;
  beforeEach(() => {
    mounted = join(dir, 'mnt');
    mkdirSync(mounted);
    expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', mounted]).status).toBe(0);
  });
  afterEach(() => {
    expect(spawnSync('umount', [mounted]).status).toBe(0);
  });

  it.each([
    ['small', 4096],
    ['large', 1024 * 1024],
  ])('names a full disk in %s writes, and gives the space back', async (_, size) => {
    const output = await createOutput(join(mounted, 'out.raw'));
    const fill = async () => {
      for (let at = 0; at < 1024 * 1024; at += size) {
        await output.write(at, new Uint8Array(size).fill(7));
      }
    };
    expect(await failure(fill())).toMatch(
      /^write \S+\/mnt\/out\.raw: cannot write \d+ bytes at offset 262144: no space left on device \(ENOSPC\)$/,
    );
    output.discard();
    expect(readdirSync(mounted)).toEqual([]);
  });

  it('names a read-only file system before any work', async () => {
    expect(spawnSync('mount', ['-o', 'remount,ro', mounted]).status).toBe(0);
    const path = join(mounted, 'out.raw');
    expect(await failure(createOutput(path))).toBe(
      `write ${path}: cannot create the file: read-only file system (EROFS)`,
    );
  });

  it('removes the temporary file when the rename fails', async () => {
    const path = join(mounted, 'out.raw');
    writeFileSync(path, 'old');
    const output = await createOutput(path, { force: true });
    rmSync(path);
    mkdirSync(path);
    expect(await failure(commit([output]))).toBe(
      `write ${path}: cannot rename the finished file to its name: is a directory (EISDIR)`,
    );
    expect(readdirSync(mounted)).toEqual(['out.raw']);
  });
});

it('removes the temporary file when the process exits in the middle', async () => {
  const before = process.listeners('exit');
  const output = await createOutput(target);
  const added = process.listeners('exit').filter((listener) => !before.includes(listener));
  expect(added).toHaveLength(1);
  added[0]?.(0);
  expect(readdirSync(dir)).toEqual([]);
  output.discard();
  expect(process.listeners('exit')).toEqual(before);
});
