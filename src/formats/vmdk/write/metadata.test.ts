/** What a VMDK says of its disk besides the bytes: read, carried, replaced by options, or refused. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MiB } from '../../../base/units.ts';
import { convert } from '../../../ops/convert.ts';
import { info } from '../../../ops/info.ts';
import { need, qemuImg } from '../../../testing/oracles.ts';
import { tempDir } from '../../../testing/tmp.ts';
import type { DiskMetadata } from '../../metadata.ts';
import { decodeComment, encodeComment } from '../comment.ts';
import { vmdk } from '../index.ts';
import { options } from './options.ts';

const DEFAULTS = Object.fromEntries(options.map(({ key, default: value }) => [key, value]));

/** The ddb lines of a plan, and what of `metadata` it carries. */
function planned(metadata: DiskMetadata, given: Record<string, string | number | boolean> = {}) {
  const request = {
    virtualSize: 8 * MiB,
    options: { ...DEFAULTS, ...given },
    given: new Set(Object.keys(given)),
    compress: false,
    metadata,
  };
  const plan = (vmdk.plan as NonNullable<typeof vmdk.plan>)(request);
  const text =
    plan
      .writer()
      .finish(0)
      .pieces.find(({ offset }) => offset === 512)?.bytes ?? new Uint8Array();
  const ddb = new TextDecoder()
    .decode(text)
    .replace(/\0+$/, '')
    .split('\n')
    .filter((line) => line.startsWith('ddb.'));
  return { ddb, carried: plan.carried ?? [] };
}

const SOURCE: DiskMetadata = {
  adapterType: 'ide',
  hardwareVersion: '13',
  toolsVersion: '11269',
  geometry: { cylinders: 17, heads: 15, sectors: 61 },
  uuid: 'c6601d4a-e361-42e6-9efa-8d5a1e9b042f',
  comment: 'a "disk"\nof C:\\tests',
};

test('what the source says is kept', () => {
  const { ddb, carried } = planned(SOURCE);
  expect(ddb).toEqual([
    'ddb.adapterType = "ide"',
    'ddb.geometry.cylinders = "17"',
    'ddb.geometry.heads = "15"',
    'ddb.geometry.sectors = "61"',
    'ddb.virtualHWVersion = "13"',
    'ddb.toolsVersion = "11269"',
    'ddb.uuid.image = "c6601d4a-e361-42e6-9efa-8d5a1e9b042f"',
    'ddb.comment = "a \\"disk\\"\\nof C:\\\\tests"',
  ]);
  expect(carried).toEqual(expect.arrayContaining(Object.keys(SOURCE)));
});

test('an option goes before it, and a geometry goes with its controller', () => {
  const given = { adapter_type: 'buslogic', hwversion: 7, toolsversion: '1' };
  const { ddb, carried } = planned(SOURCE, { ...given, uuid: '60 00 C2 9b 00 11 22 33-44 55 66 77 88 99 aa bb' });
  expect(ddb).toEqual([
    'ddb.adapterType = "buslogic"',
    'ddb.geometry.cylinders = "8"',
    'ddb.geometry.heads = "64"',
    'ddb.geometry.sectors = "32"',
    'ddb.virtualHWVersion = "7"',
    'ddb.toolsVersion = "1"',
    'ddb.uuid = "60 00 c2 9b 00 11 22 33-44 55 66 77 88 99 aa bb"',
    expect.stringContaining('ddb.comment'),
  ]);
  expect(carried).toEqual(expect.arrayContaining(Object.keys(SOURCE)));
});

test('what a VMDK cannot say is not said, and not called carried', () => {
  const { ddb, carried } = planned({
    adapterType: 'pvscsi',
    hardwareVersion: '2000',
    toolsVersion: '1"\nparentFileNameHint="x',
    // A VHD's.
    geometry: { cylinders: 65535, heads: 16, sectors: 255 },
    uuid: '00000000-0000-0000-0000-000000000000',
    comment: '\u001b[2J',
    creator: 'win ',
    time: 1,
  });
  expect(ddb).toEqual([
    'ddb.adapterType = "lsilogic"',
    'ddb.geometry.cylinders = "8"',
    'ddb.geometry.heads = "64"',
    'ddb.geometry.sectors = "32"',
    'ddb.virtualHWVersion = "4"',
  ]);
  expect(carried).toEqual(['logicalSectorSize', 'physicalSectorSize']);
});

test('sectors of another size are said', () => {
  const { ddb } = planned({ logicalSectorSize: 512, physicalSectorSize: 4096 });
  expect(ddb.slice(5)).toEqual(['ddb.logicalSectorSize = "512"', 'ddb.physicalSectorSize = "4096"']);
  expect(planned({ logicalSectorSize: 512, physicalSectorSize: 512 }).ddb).toHaveLength(5);
});

test('compat6 is hardware version 6, whatever the source says', () => {
  expect(planned(SOURCE, { compat6: true }).ddb).toContain('ddb.virtualHWVersion = "6"');
  expect(planned({}, { compat6: true, hwversion: 6 }).ddb).toContain('ddb.virtualHWVersion = "6"');
});

test('a comment is one line, there and back', () => {
  for (const text of ['', 'plain', 'a "quoted" \\ word', 'two\r\nlines\n', 'Ümläut \u{1f4be}', '\\n is no line end']) {
    const line = encodeComment(text) as string;
    expect(line).not.toMatch(/[\r\n]|(^|[^\\])(\\\\)*"/);
    expect(decodeComment(line)).toBe(text);
  }
  expect(encodeComment('x'.repeat(2049))).toBe(undefined);
  expect(encodeComment('\0')).toBe(undefined);
});

test('a comment cannot make qemu follow a reference', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const dir = await tempDir();
  const [source, target] = [join(dir, 'in.vmdk'), join(dir, 'out.vmdk')];
  await writeFile(join(dir, 'in-flat.vmdk'), new Uint8Array(MiB));
  // What qemu takes for the name ends at the line's own quote.
  const hostile = 'parentFileNameHint: /etc/hostname';
  const text = (comment: string) =>
    `version=1\nCID=1\nparentCID=ffffffff\ncreateType="vmfs"\nRW 2048 VMFS "in-flat.vmdk"\nddb.comment = "${comment}"\n`;
  await writeFile(source, text(hostile));
  expect((await info(source)).metadata.comment).toBe(hostile);
  const { dropped } = await convert(source, target);
  expect(dropped).toEqual(['comment']);
  expect(await readFile(target, 'latin1')).not.toContain('parentFileNameHint');
  expect((await qemu.info(target, 'vmdk'))['backing-filename']).toBe(undefined);
  // That it would have.
  expect(await qemu.run('info', '-U', '-f', 'vmdk', source).catch(String)).toMatch(/backing file: \/etc\/hostname/);
  await writeFile(source, text('made by hand'));
  expect(await convert(source, target, { force: true })).toMatchObject({ dropped: [] });
  expect((await info(target)).metadata).toMatchObject({ comment: 'made by hand' });
});

test.each([
  ['uuid', 'c6601d4a', /32 hexadecimal digits/],
  ['uuid', '00000000-0000-0000-0000-000000000000', /32 hexadecimal digits/],
  ['toolsversion', '1.2', /whole number/],
])('refused: -o %s=%s', (key, value, message) => {
  expect(() => options.find((option) => option.key === key)?.check?.(value)).toThrow(message);
});
