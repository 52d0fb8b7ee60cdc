/** VMDK against VirtualBox's own code, in both directions. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { KiB, MiB, SECTOR } from '../base/units.ts';
import { SUBFORMATS } from '../formats/vmdk/write/options.ts';
import { compare } from '../ops/compare.ts';
import { convert } from '../ops/convert.ts';
import { info } from '../ops/info.ts';
import { expectBytes, expectGuest, guestBytes } from '../testing/guest.ts';
import { ModelDisk } from '../testing/model-disk.ts';
import { need } from '../testing/oracles.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import { vboxImg } from '../testing/vbox.ts';

const SMALL = seededDisk(7, 37 * MiB + 5 * KiB);

/** Where it is split, two files. vbox-img reads the holes of files as well: gigabytes of them take their time. */
const BORDER = 2047 * MiB;
const LARGE = new ModelDisk(
  BORDER + 3 * MiB + 5 * SECTOR,
  [
    { start: 0, length: 100 * KiB, pattern: 'text' },
    { start: BORDER - 70 * KiB, length: 200 * KiB, pattern: 'random' },
    { start: BORDER + 3 * MiB, length: 5 * SECTOR, pattern: 'text' },
  ],
  31,
);

describe.each(['Standard', 'Fixed', 'Split2G', 'Stream'])('vbox-img --variant %s', (variant) => {
  test('is read', async (ctx) => {
    const vbox = need(ctx, vboxImg());
    const dir = await tempDir();
    await writeFile(join(dir, 'in.raw'), guestBytes(SMALL));
    await vbox.convert(dir, ['in.raw', 'RAW'], ['out.vmdk', 'VMDK'], variant);
    await expectGuest(join(dir, 'out.vmdk'), guestBytes(SMALL));
    const said = await vbox.img(['info', '--filename', 'out.vmdk'], dir);
    const { metadata } = await info(join(dir, 'out.vmdk'));
    expect(said).toContain(`uuidCreation={${metadata.uuid}}`);
    expect(metadata).toMatchObject({ adapterType: 'ide', hardwareVersion: '4' });
  });
});

test.for(['Split2G', 'Stream'])('vbox-img --variant %s of a disk of 2 GiB is read', async (variant, ctx) => {
  const vbox = need(ctx, vboxImg());
  const dir = await tempDir();
  await LARGE.writeRawFile(join(dir, 'in.raw'));
  await vbox.convert(dir, ['in.raw', 'RAW'], ['out.vmdk', 'VMDK'], variant);
  expect(await compare(join(dir, 'in.raw'), join(dir, 'out.vmdk'), { strict: true })).toMatchObject({
    identical: true,
  });
});

const UUID = 'c6601d4a-e361-42e6-9efa-8d5a1e9b042f';

describe.each(SUBFORMATS)('%s', (subformat) => {
  const disks = [
    ['37 MiB', SMALL],
    ['2 GiB', LARGE],
  ] as const;
  test.for(subformat === 'vmfs' || subformat === 'monolithicFlat' ? disks.slice(0, 1) : disks)(
    'of %s is what vbox-img reads',
    { timeout: 120_000 },
    async ([, disk], ctx) => {
      const vbox = need(ctx, vboxImg());
      const dir = await tempDir();
      const raw = join(dir, 'in.raw');
      await disk.writeRawFile(raw);
      await convert(raw, join(dir, 'out.vmdk'), { targetOptions: { subformat, uuid: UUID }, noSync: true });
      const said = await vbox.img(['info', '--filename', 'out.vmdk'], dir);
      expect(said).toContain(`uuidCreation={${UUID}}`);
      await vbox.convert(dir, ['out.vmdk', 'VMDK'], ['back.raw', 'RAW']);
      if (disk === SMALL) {
        expectBytes(await readFile(join(dir, 'back.raw')), guestBytes(SMALL), subformat);
      } else {
        expect((await stat(join(dir, 'back.raw'))).size).toBe(disk.size);
        expect(await compare(raw, join(dir, 'back.raw'))).toMatchObject({ identical: true });
      }
    },
  );
});

test('the id and the geometry of VirtualBox go through vdconv and are read again', async (ctx) => {
  const vbox = need(ctx, vboxImg());
  const dir = await tempDir();
  await writeFile(join(dir, 'in.raw'), guestBytes(seededDisk(1, MiB)));
  await vbox.convert(dir, ['in.raw', 'RAW'], ['a.vmdk', 'VMDK'], 'Fixed');
  const before = await info(join(dir, 'a.vmdk'));
  const { dropped } = await convert(join(dir, 'a.vmdk'), join(dir, 'b.vmdk'));
  expect(dropped).toEqual([]);
  expect(await vbox.img(['info', '--filename', 'b.vmdk'], dir)).toContain(`{${before.metadata.uuid}}`);
});
