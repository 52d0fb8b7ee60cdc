/** Images over others: chains that qemu-img made read as their guest would see them, and only where that is allowed. */
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { alignDown, KiB, MiB } from '../base/units.ts';
import { convert, open } from '../index.ts';
import { type Cuts, expectBytes, expectGuest, guestBytes } from '../testing/guest.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { qemuIo } from '../testing/qemu-io.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { snapshot } from '../testing/snapshot.ts';
import { tempDir } from '../testing/tmp.ts';

const CUTS: Cuts = [
  [0.05, 0.4],
  [0.5, 1],
];

/** Sizes are in sectors: neither clusters nor grains. */
const anySize = fc.integer({ min: 1, max: (2 * MiB) / 512 }).map((sectors) => sectors * 512);

const anyLayer = fc.record({
  size: anySize,
  clusterBits: fc.integer({ min: 9, max: 17 }),
  writes: fc.array(
    fc.record({
      zeros: fc.boolean(),
      at: fc.double({ min: 0, max: 0.999, noNaN: true }),
      length: fc.integer({ min: 512, max: 200 * KiB }),
    }),
    { maxLength: 4 },
  ),
});

test('any chain: one to three layers over any base, each longer or shorter than the next', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const root = await tempDir();
  let run = 0;
  const anyBase = fc.record({
    seed: fc.integer(),
    size: anySize,
    format: fc.constantFrom('raw', 'qcow2', 'vmdk', 'vdi', 'vhdx'),
    compress: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(anyBase, fc.array(anyLayer, { minLength: 1, maxLength: 3 }), async (base, layers) => {
      run += 1;
      const dir = join(root, `${run}`);
      await mkdir(dir);
      const disk = seededDisk(base.seed, base.size);
      await disk.writeRawFile(join(dir, 'in.raw'));
      const compressed = base.compress && base.format === 'qcow2' ? ['-c'] : [];
      await qemu.convert('-f', 'raw', '-O', base.format, ...compressed, join(dir, 'in.raw'), join(dir, 'base'));
      let want = guestBytes(disk);
      let below = { name: 'base', format: base.format };
      for (const [i, { size, clusterBits, writes }] of layers.entries()) {
        const image = join(dir, `layer${i}`);
        const options = ['-b', below.name, '-F', below.format, '-o', `cluster_size=${2 ** clusterBits}`];
        await qemu.run('create', '-q', '-f', 'qcow2', ...options, image, `${size}`);
        const layer = new Uint8Array(size);
        layer.set(want.subarray(0, size));
        want = layer;
        const commands = writes.map(({ zeros, at, length }, n) => {
          const start = alignDown(at * size, 512);
          const end = Math.min(size, start + alignDown(length, 512));
          const fill = zeros ? 0 : 1 + n + 16 * i;
          layer.fill(fill, start, end);
          return `write ${zeros ? '-z' : `-P ${fill}`} ${start} ${end - start}`;
        });
        if (commands.length > 0) {
          await qemuIo(image, 'qcow2', ...commands);
        }
        below = { name: `layer${i}`, format: 'qcow2' };
      }
      const top = join(dir, below.name);
      const allowed = { allowReferences: true };
      await expectGuest(top, want, allowed, CUTS);
      await convert(top, join(dir, 'out.raw'), { ...allowed, noSync: true });
      expectBytes(await readFile(join(dir, 'out.raw')), want, 'out.raw');
    }),
    { numRuns: 25 },
  );
});

describe('what an image refers to', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await tempDir();
  });
  const at = (name: string) => join(dir, name);

  /** An image over `backing`, which need not be there. */
  function overlay(name: string, backing: string, format = 'raw'): string {
    const options = ['-f', 'qcow2', '-u', '-b', backing, '-F', format];
    execFileSync('qemu-img', ['create', '-q', ...options, at(name), '1M']);
    return at(name);
  }

  /** The conversion fails and leaves the directory as it was. */
  async function failure(source: string, allowReferences?: boolean | string[]): Promise<string> {
    const before = await snapshot(dir);
    const options = { allowReferences, targetFormat: 'raw' };
    const said = await convert(source, at('out'), options).then(
      () => 'converted',
      ({ code, message }) => `${code} ${message}`,
    );
    expect(await snapshot(dir)).toEqual(before);
    return said;
  }

  test('is refused by default, with what it is, where it is, and the flag', async (ctx) => {
    need(ctx, qemuImg());
    await writeFile(at('base.raw'), Buffer.alloc(MiB, 'base'));
    const child = overlay('child.qcow2', 'base.raw');
    expect(await failure(child)).toBe(
      `refused ${child}: refers to backing file 'base.raw' (${at('base.raw')}); ` +
        `references are not followed by default; to follow it, add --allow-references=${dir}`,
    );
    await expect(open(child)).rejects.toMatchObject({ code: 'refused', field: 'backing' });
    await expectGuest(child, new Uint8Array(Buffer.alloc(MiB, 'base')), { allowReferences: true });
  });

  test('is refused outside the directories that were allowed, through a link too', async (ctx) => {
    need(ctx, qemuImg());
    const outside = join(await tempDir(), 'secret.raw');
    await writeFile(outside, Buffer.alloc(MiB, 'secret'));
    await symlink(outside, at('link.raw'));
    const message =
      /^refused .*; it is outside the directories that were allowed; to follow it, add --allow-references=/;
    expect(await failure(overlay('absolute.qcow2', outside), true)).toMatch(message);
    expect(await failure(overlay('link.qcow2', 'link.raw'), true)).toMatch(message);
    expect(await failure(overlay('up.qcow2', `../${outside.split('/').slice(-2).join('/')}`), [dir])).toMatch(message);
  });

  test.for([
    ['json:{"driver":"file","filename":"/etc/passwd"}', 'a json: name is never followed'],
    ['nbd://127.0.0.1:1/x', 'a name with a protocol is never followed'],
    ['http://127.0.0.1:1/x', 'a name with a protocol is never followed'],
    ['file:/etc/passwd', 'a name with a protocol is never followed'],
    ['/dev/zero', 'it is a character device, only regular files are followed'],
    ['/etc', 'it is a directory, only regular files are followed'],
  ])('is never followed to %s', async ([name, why], ctx) => {
    need(ctx, qemuImg());
    expect(await failure(overlay('child.qcow2', name as string), ['/'])).toMatch(
      new RegExp(`^refused .*: refers to backing file '.*; ${why}$`),
    );
  });

  test('a named pipe is refused, not waited for', async (ctx) => {
    need(ctx, qemuImg());
    execFileSync('mkfifo', [at('pipe')]);
    expect(await failure(overlay('child.qcow2', 'pipe'), true)).toMatch(/^refused .*; it is a named pipe, /);
  });

  test('that is not there is named', async (ctx) => {
    need(ctx, qemuImg());
    const child = overlay('child.qcow2', 'gone.raw');
    expect(await failure(child, true)).toBe(
      `read ${child}: backing file 'gone.raw' (${at('gone.raw')}) of the image does not exist`,
    );
  });

  test('that leads back to the image is an error: at once, after a step, and through a link', async (ctx) => {
    need(ctx, qemuImg());
    const self = overlay('self.qcow2', 'self.qcow2', 'qcow2');
    expect(await failure(self, true)).toBe(`corrupt ${self}: is its own parent: ${self} -> ${self}`);
    const a = overlay('a.qcow2', 'b.qcow2', 'qcow2');
    const b = overlay('b.qcow2', 'a.qcow2', 'qcow2');
    expect(await failure(a, true)).toBe(`corrupt ${a}: is its own parent: ${a} -> ${b} -> ${a}`);
    await symlink('c.qcow2', at('alias.qcow2'));
    expect(await failure(overlay('c.qcow2', 'alias.qcow2', 'qcow2'), true)).toMatch(/^corrupt .* is its own parent: /);
  });

  test('64 layers are read, 65 refused, quickly', async (ctx) => {
    need(ctx, qemuImg());
    const name = (n: number) => `layer-${String(n).padStart(2, '0')}`;
    const header = await readFile(overlay('template', name(0), 'qcow2'));
    const where = header.indexOf(name(0));
    // Layer 1 is the bottom of data, all others are empty: layer n lies over layer n - 1.
    for (let n = 2; n <= 65; n += 1) {
      header.write(name(n - 1), where);
      await writeFile(at(name(n)), header);
    }
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', at(name(1)), '1M']);
    await qemuIo(at(name(1)), 'qcow2', 'write -P 65 100k 5k');
    const want = new Uint8Array(MiB).fill(65, 100 * KiB, 105 * KiB);
    const begun = performance.now();
    await expectGuest(at(name(64)), want, { allowReferences: true });
    expect(await failure(at(name(65)), true)).toBe(
      `limit ${at(name(65))}: has more than 64 layers; to take more, set --limit=layers=N`,
    );
    expect(performance.now() - begun).toBeLessThan(5000);
  });

  test('may be the target of no conversion', async (ctx) => {
    need(ctx, qemuImg());
    await writeFile(at('base.raw'), Buffer.alloc(MiB, 'base'));
    const child = overlay('child.qcow2', 'base.raw');
    const before = await snapshot(dir);
    const options = { allowReferences: true, force: true };
    await expect(convert(child, at('base.raw'), options)).rejects.toMatchObject({
      code: 'usage',
      message: `${at('base.raw')}: is the same file as the source ${at('base.raw')}`,
    });
    expect(await snapshot(dir)).toEqual(before);
  });

  test('of a VMDK: the parent is refused by default', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    await qemu.run('create', '-q', '-f', 'vmdk', at('base.vmdk'), '1M');
    await qemu.run('create', '-q', '-f', 'vmdk', '-b', at('base.vmdk'), '-F', 'vmdk', at('child.vmdk'));
    expect(await failure(at('child.vmdk'))).toBe(
      `refused ${at('child.vmdk')}: refers to parent '${at('base.vmdk')}'; ` +
        `references are not followed by default; to follow it, add --allow-references=${dir}`,
    );
  });

  test('of a VMDK: an extent under another name is refused by default', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    await qemu.run('create', '-q', '-f', 'vmdk', '-o', 'subformat=monolithicFlat', at('disk.vmdk'), '1M');
    await copyFile(at('disk.vmdk'), at('renamed.vmdk'));
    expect(await failure(at('renamed.vmdk'))).toMatch(
      /^refused .*renamed\.vmdk: refers to extent 'disk-flat\.vmdk' \(.*\/disk-flat\.vmdk\); references are not followed/,
    );
    await expectGuest(at('renamed.vmdk'), new Uint8Array(MiB), { allowReferences: true });
  });
});
