/** VMDK against VirtualBox's own code, in both directions. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { convert } from '../ops/convert.ts';
import { expectBytes, expectGuest, guestBytes } from '../testing/guest.ts';
import { need } from '../testing/oracles.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import { vboxImg } from '../testing/vbox.ts';

const disk = seededDisk(7, 37 * MiB + 5 * KiB);

describe.each(['Standard', 'Fixed', 'Split2G', 'Stream'])('vbox-img --variant %s', (variant) => {
  test('is read', async (ctx) => {
    const vbox = need(ctx, vboxImg());
    const dir = await tempDir();
    await writeFile(join(dir, 'in.raw'), guestBytes(disk));
    await vbox.convert(dir, ['in.raw', 'RAW'], ['out.vmdk', 'VMDK'], variant);
    await expectGuest(join(dir, 'out.vmdk'), guestBytes(disk));
  });
});

describe.each(['monolithicSparse', 'streamOptimized'])('%s', (subformat) => {
  test('is what vbox-img reads', async (ctx) => {
    const vbox = need(ctx, vboxImg());
    const dir = await tempDir();
    await writeFile(join(dir, 'in.raw'), guestBytes(disk));
    await convert(join(dir, 'in.raw'), join(dir, 'out.vmdk'), { targetOptions: { subformat } });
    await vbox.convert(dir, ['out.vmdk', 'VMDK'], ['back.raw', 'RAW']);
    expectBytes(await readFile(join(dir, 'back.raw')), guestBytes(disk), subformat);
    expect(await vbox.img(['info', '--filename', 'out.vmdk'], dir)).toMatch(/Backend=VMDK/);
  });
});
