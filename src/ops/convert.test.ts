/** What a conversion does to the files around it: the target appears whole or not at all, the source is only read. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, statSync, truncateSync } from 'node:fs';
import {
  copyFile,
  link,
  mkdir,
  mkdtemp,
  open as openFile,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { type ConvertOptions, convert, VdconvError } from '../index.ts';
import { expectBytes, expectGuest, guestBytes } from '../testing/guest.ts';
import { ModelDisk } from '../testing/model-disk.ts';
import { random } from '../testing/random.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { snapshot } from '../testing/snapshot.ts';
import { tempDir } from '../testing/tmp.ts';

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
});
const at = (name: string) => join(dir, name);

const DISK = seededDisk(11, 3 * MiB);

/** 8 MiB that are slow to compress. */
const SLOW = new ModelDisk(8 * MiB, [{ start: 0, length: 8 * MiB, pattern: 'text' }], 2);
const SLOWLY: ConvertOptions = { compress: true, compressLevel: 9, threads: 1, force: true };

/** `code message`, or `converted`. */
async function outcome(source: string, target: string, options: ConvertOptions = {}): Promise<string> {
  return convert(source, target, options).then(
    () => 'converted',
    (error) => {
      expect(error).toBeInstanceOf(VdconvError);
      return `${error.code} ${error.message}`;
    },
  );
}

/** The conversion fails with and without a target that is there already, and the directory stays as it was. */
async function expectNothingHappens(source: string, message: RegExp, options: ConvertOptions = {}): Promise<void> {
  const before = await snapshot(dir);
  expect(await outcome(source, at('new.qcow2'), options)).toMatch(message);
  expect(await snapshot(dir)).toEqual(before);
  await writeFile(at('old.qcow2'), 'what was here before');
  const withOld = await snapshot(dir);
  expect(await outcome(source, at('old.qcow2'), { ...options, force: true })).toMatch(message);
  expect(await snapshot(dir)).toEqual(withOld);
  await rm(at('old.qcow2'));
}

async function patch(path: string, offset: number, bytes: Uint8Array): Promise<void> {
  const file = await openFile(path, 'r+');
  await file.write(bytes, 0, bytes.length, offset);
  await file.close();
}

describe('a target that exists', () => {
  test('is refused without force, before the source is looked at, and stays', async () => {
    await writeFile(at('out.qcow2'), 'old');
    await DISK.writeRawFile(at('in.raw'));
    const before = await snapshot(dir);
    const message = `exists ${at('out.qcow2')}: the file exists; add --force to replace it`;
    expect(await outcome(at('in.raw'), at('out.qcow2'))).toBe(message);
    expect(await snapshot(dir)).toEqual(before);
  });

  test('is replaced with force, whatever it was', async () => {
    await DISK.writeRawFile(at('in.raw'));
    await writeFile(at('out.qcow2'), Buffer.alloc(9 * MiB, 1));
    const inode = statSync(at('out.qcow2')).ino;
    const { target } = await convert(at('in.raw'), at('out.qcow2'), { force: true });
    expect(statSync(at('out.qcow2')).ino).not.toBe(inode);
    expect(target.fileSize).toBe(statSync(at('out.qcow2')).size);
    await expectGuest(at('out.qcow2'), guestBytes(DISK));
    expect((await readdir(dir)).sort()).toEqual(['in.raw', 'out.qcow2']);
  });

  test('that is a link stays one: the file behind it is replaced', async () => {
    await DISK.writeRawFile(at('in.raw'));
    await mkdir(at('elsewhere'));
    await writeFile(at('elsewhere/real.qcow2'), 'old');
    await symlink('elsewhere/real.qcow2', at('out.qcow2'));
    await convert(at('in.raw'), at('out.qcow2'), { force: true });
    await expectGuest(at('elsewhere/real.qcow2'), guestBytes(DISK));
    expect(await readdir(at('elsewhere'))).toEqual(['real.qcow2']);
  });
});

describe('the target is the source', () => {
  beforeEach(() => DISK.writeRawFile(at('in.raw')));

  test.for<[name: string, make: (() => Promise<void>) | undefined, target: () => string]>([
    ['the same path', undefined, () => at('in.raw')],
    ['the same path in other words', undefined, () => `${dir}/../${basename(dir)}/./in.raw`],
    ['a relative path', undefined, () => relative(process.cwd(), at('in.raw'))],
    ['a hard link', () => link(at('in.raw'), at('hard.raw')), () => at('hard.raw')],
    ['a symbolic link', () => symlink('in.raw', at('soft.raw')), () => at('soft.raw')],
    ['a path through a linked directory', () => symlink('.', at('self')), () => at('self/in.raw')],
  ])('%s', async ([, make, target]) => {
    await make?.();
    const before = await snapshot(dir);
    for (const options of [{}, { force: true }, { force: true, targetFormat: 'qcow2' }]) {
      const said = await outcome(at('in.raw'), target(), options);
      expect(said).toBe(`usage ${target()}: is the same file as the source ${at('in.raw')}`);
    }
    expect(await snapshot(dir)).toEqual(before);
  });

  test('a link to the source is read as the source', async () => {
    await symlink('in.raw', at('soft.raw'));
    expect(await outcome(at('soft.raw'), at('in.raw'), { force: true })).toMatch(/^usage .* is the same file as /);
  });
});

describe('the source', () => {
  test('is never written: content, size and times stay', async () => {
    await DISK.writeRawFile(at('in.raw'));
    await convert(at('in.raw'), at('in.qcow2'));
    await convert(at('in.raw'), at('in.vmdk'));
    const before = await snapshot(dir);
    await mkdir(at('out'));
    for (const name of ['in.raw', 'in.qcow2', 'in.vmdk']) {
      await convert(at(name), at('out/disk.qcow2'), { force: true, compress: true });
      await convert(at(name), at('out/disk.raw'), { force: true });
      expect(await outcome(at(name), at('out/disk.raw'))).toMatch(/^exists/);
    }
    const { out, ...after } = await snapshot(dir);
    expect(out).toBeDefined();
    expect(after).toEqual(before);
  });

  /** Each happens while the engine reads: at the first sign of progress, which comes before the source is looked at again. */
  const changes: [string, () => Promise<void> | void, RegExp][] = [
    ['grows', () => appendFileSync(at('in.raw'), 'x'), /its size went from 8388608 to 8388609 bytes/],
    ['shrinks', () => truncateSync(at('in.raw'), 8 * MiB - 512), /its size went from 8388608 to 8388096 bytes/],
    ['is written', () => patch(at('in.raw'), 5 * MiB, Buffer.from('x')), /its modification time is another/],
  ];
  test.for(changes)('that %s while it is read is an error', async ([, change, why]) => {
    await SLOW.writeRawFile(at('in.raw'));
    await writeFile(at('out.qcow2'), 'old');
    let changed: Promise<void> | undefined;
    const onProgress = () => {
      changed ??= change() ?? Promise.resolve();
    };
    const said = await outcome(at('in.raw'), at('out.qcow2'), { ...SLOWLY, onProgress });
    await changed;
    expect(said).toMatch(/^changed .*in\.raw: the file changed while it was read \(/);
    expect(said).toMatch(why);
    expect((await readdir(dir)).sort()).toEqual(['in.raw', 'out.qcow2']);
    expect(await readFile(at('out.qcow2'), 'utf8')).toBe('old');
  });

  test('that is replaced by name is read to its end as it was', async () => {
    await SLOW.writeRawFile(at('in.raw'));
    await writeFile(at('other'), Buffer.alloc(8 * MiB, 'other'));
    let renamed: Promise<void> | undefined;
    const onProgress = () => {
      renamed ??= rename(at('other'), at('in.raw'));
    };
    const said = await outcome(at('in.raw'), at('out.qcow2'), { ...SLOWLY, onProgress });
    await renamed;
    // Either the file that was opened (its link count tells that it went), or an error: never the other's bytes.
    if (said === 'converted') {
      await expectGuest(at('out.qcow2'), guestBytes(SLOW));
    } else {
      expect(said).toMatch(/^changed /);
    }
  });
});

describe('nothing happens', () => {
  test('when the source is cut off', async () => {
    await DISK.writeRawFile(at('in.raw'));
    await convert(at('in.raw'), at('in.qcow2'));
    truncateSync(at('in.qcow2'), statSync(at('in.qcow2')).size - 64 * KiB);
    await expectNothingHappens(at('in.qcow2'), /^truncated .*in\.qcow2: /);
  });

  test('when an L2 table is damaged, even the last one', async () => {
    await DISK.writeRawFile(at('in.raw'));
    await convert(at('in.raw'), at('in.qcow2'), { targetOptions: { cluster_size: 4096 } });
    const header = await readFile(at('in.qcow2'));
    const l1 = Number(header.readBigUInt64BE(40));
    const entries = Array.from({ length: header.readUInt32BE(36) }, (_, i) => header.readBigUInt64BE(l1 + 8 * i));
    const l2 = Number((entries.findLast((entry) => entry !== 0n) as bigint) & 0xff_ffff_ffff_ffffn);
    const used = Array.from({ length: 512 }, (_, i) => i).findLast((i) => header.readBigUInt64BE(l2 + 8 * i) !== 0n);
    const entry = l2 + 8 * (used as number);
    await patch(at('in.qcow2'), entry + 6, Buffer.of(2));
    await expectNothingHappens(at('in.qcow2'), /^corrupt .*in\.qcow2: .*L2/);
  });

  test('when compressed data does not decode, even the last of it', async () => {
    for (const [name, options] of [
      ['in.qcow2', { compress: true }],
      ['in.vmdk', { targetOptions: { subformat: 'streamOptimized' } }],
    ] as const) {
      const text = new ModelDisk(3 * MiB, [{ start: 0, length: 3 * MiB, pattern: 'text' }], 6);
      await text.writeRawFile(at('in.raw'));
      await convert(at('in.raw'), at(name), options);
      const image = await readFile(at(name));
      // The last stretch of bytes that look like a stream: no zeros for 1 KiB.
      let end = image.length;
      while (image.subarray(end - KiB, end).includes(Buffer.alloc(8))) {
        end -= 512;
      }
      await patch(at(name), end - KiB, Buffer.alloc(KiB, 0xff));
      await expectNothingHappens(at(name), /^corrupt .*in\.(qcow2|vmdk): /);
      await rm(at(name));
    }
  });

  test('when the call makes no sense', async () => {
    await DISK.writeRawFile(at('in.raw'));
    await expectNothingHappens(at('in.raw'), /^usage /, { targetOptions: { cluster_size: 1000 } });
    await expectNothingHappens(at('in.raw'), /^usage /, { targetFormat: 'vhdz' });
    await expectNothingHappens(at('in.raw'), /^usage /, { threads: 0 });
    await expectNothingHappens(at('gone.raw'), /^read .*gone\.raw: no such file$/);
  });

  test('when it is cancelled, at whatever moment', async () => {
    await SLOW.writeRawFile(at('in.raw'));
    await writeFile(at('out.qcow2'), 'what was here before');
    const before = await snapshot(dir);
    const begun = performance.now();
    await convert(at('in.raw'), at('whole.qcow2'), SLOWLY);
    const whole = performance.now() - begun;
    const want = createHash('sha256')
      .update(await readFile(at('whole.qcow2')))
      .digest('hex');
    await rm(at('whole.qcow2'));
    const source = random(Date.now() | 0);
    const outcomes = new Set<string>();
    for (let i = 0; i < 24; i += 1) {
      // The first is at once, the last hardly ever in time.
      const signal = AbortSignal.timeout(i === 0 ? 0 : Math.round((whole * (i + source.below(100) / 100)) / 22));
      const target = at(i % 2 === 0 ? 'out.qcow2' : 'new.qcow2');
      const said = await outcome(at('in.raw'), target, { ...SLOWLY, signal });
      outcomes.add(said);
      if (said === 'converted') {
        expect(
          createHash('sha256')
            .update(await readFile(target))
            .digest('hex'),
        ).toBe(want);
        await rm(target);
        if (i % 2 === 0) {
          await writeFile(target, 'what was here before');
          Object.assign(before, { 'out.qcow2': (await snapshot(dir))['out.qcow2'] });
        }
      }
      expect(await snapshot(dir)).toEqual(before);
    }
    expect(outcomes).toContain('aborted cancelled');
    expect([...outcomes].filter((said) => said !== 'converted')).toEqual(['aborted cancelled']);
  });
});

describe('a full disk', () => {
  /** A file system of its own, as small as it is asked for. */
  async function smallDisk(ctx: { skip(note?: string): never }, size: string): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'vdconv-test-small-'));
    const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path], {
      encoding: 'utf8',
    });
    onTestFinished(async () => {
      // Without -l: a descriptor that a conversion left open fails the test here.
      const unmounted = status === 0 ? spawnSync('umount', [path], { encoding: 'utf8' }).stderr : '';
      spawnSync('umount', ['-l', path]);
      await rmdir(path);
      expect(unmounted).toBe('');
    });
    if (status !== 0) {
      if (process.env.CI) {
        throw new Error(`cannot mount a small file system: ${stderr}`);
      }
      return ctx.skip('mounting a small file system takes root');
    }
    return path;
  }

  test.for([
    ['raw', {}],
    ['qcow2', {}],
    ['qcow2', { compress: true }],
    ['vmdk', {}],
    ['vmdk', { targetOptions: { subformat: 'streamOptimized' } }],
  ] as const)('%s %j: an error, the space is free again, the old target stays', async ([format, options], ctx) => {
    const disk = new ModelDisk(3 * MiB, [{ start: 0, length: 3 * MiB, pattern: 'random' }], 3);
    await disk.writeRawFile(at('in.raw'));
    for (const size of ['8k', '64k', '200k', '1m', '2800k']) {
      const small = await smallDisk(ctx, size);
      await writeFile(join(small, 'old'), 'old');
      const before = await snapshot(small);
      for (const name of ['new', 'old']) {
        const target = join(small, name);
        const said = await outcome(at('in.raw'), target, { ...options, targetFormat: format, force: true });
        expect(said).toMatch(new RegExp(`^write ${target}: cannot .*: no space left on device \\(ENOSPC\\)$`));
        expect(await snapshot(small)).toEqual(before);
      }
    }
    const enough = await smallDisk(ctx, '4m');
    expect(await outcome(at('in.raw'), join(enough, 'new'), { ...options, targetFormat: format })).toBe('converted');
  });
});

test('a copy of an image is an image of its own: the target does not depend on the source', async () => {
  await DISK.writeRawFile(at('in.raw'));
  await convert(at('in.raw'), at('a.qcow2'));
  await copyFile(at('in.raw'), at('kept.raw'));
  await rm(at('in.raw'));
  await convert(at('a.qcow2'), at('out.raw'));
  expectBytes(await readFile(at('out.raw')), await readFile(at('kept.raw')), 'out.raw');
});
