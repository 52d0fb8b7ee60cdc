/** Writing a differencing disk: what it says of its parent, byte by byte, and how it is read. */
import { describe, expect, test } from 'vitest';
import { MiB, SECTOR } from '../../base/units.ts';
import { memorySource } from '../../io/memory-source.ts';
import { extentAt } from '../../map/extents.ts';
import type { BaseImage, WritePlan, WriteRequest } from '../format.ts';
import { vhd } from './index.ts';
import { options } from './options.ts';

const gate = { open: () => Promise.reject(new Error('no references')), resolve: () => undefined };
const PARENT = '00112233-4455-6677-8899-aabbccddeeff';

function base(more: Partial<BaseImage> = {}): BaseImage {
  return {
    name: 'base.vhd',
    path: '/srv/base.vhd',
    format: 'vhd',
    virtualSize: 20 * MiB,
    lineage: { field: 'parentUniqueId', own: PARENT },
    metadata: {},
    changed: 946684800 + 0x01020304,
    facts: {} as BaseImage['facts'],
    ...more,
  };
}

function plan(more: Partial<WriteRequest> = {}): WritePlan {
  const defaults = Object.fromEntries(options.map((option) => [option.key, option.default]));
  const request = { virtualSize: 20 * MiB, compress: false, base: base(), ...more };
  return (vhd.plan as NonNullable<typeof vhd.plan>)({ ...request, options: { ...defaults, ...more.options } });
}

/** A layer without blocks. */
function bytesOf({ writer, layout }: WritePlan): Buffer {
  const { pieces, size } = writer().finish(layout.dataStart);
  const file = Buffer.alloc(size);
  for (const { offset, bytes } of pieces) {
    file.set(bytes, offset);
  }
  return file;
}

const utf16 = (text: string) => Buffer.from(text, 'utf16le');

test('blocks that are zero are stored, since a VHD has no other way to hide its parent', () => {
  expect(plan().layout).toMatchObject({ explicitZeros: true, storeAll: true, prefixFill: 0xff });
  expect(plan({ base: undefined }).layout).not.toHaveProperty('explicitZeros');
});

describe('bytes', () => {
  const file = bytesOf(plan());
  const hexAt = (at: number, length: number) => file.toString('hex', at, at + length);

  test('type 4 in both footers', () => {
    expect([hexAt(60, 4), hexAt(file.length - 512 + 60, 4)]).toEqual(['00000004', '00000004']);
  });

  test('header: id, time of the last change and name of the parent', () => {
    expect(hexAt(512 + 40, 16)).toBe('00112233445566778899aabbccddeeff');
    expect(hexAt(512 + 56, 8)).toBe('0102030400000000');
    expect(hexAt(512 + 64, 512)).toBe(
      Buffer.from('\0b\0a\0s\0e\0.\0v\0h\0d', 'latin1').toString('hex').padEnd(1024, '0'),
    );
  });

  test('a locator, with its data between BAT and blocks', () => {
    // W2ru, 512 bytes of space, 20 of them used, at the second sector behind the header.
    expect(hexAt(512 + 576, 24)).toBe('57327275' + '00000200' + '00000014' + '00000000' + '0000000000000800');
    expect(hexAt(512 + 600, 7 * 24)).toBe('0'.repeat(7 * 48));
    expect(file.subarray(2048, 2048 + 512)).toEqual(Buffer.concat([utf16('.\\base.vhd')], 512));
    expect(plan().layout.dataStart).toBe(2560);
  });

  test('the sum of the header', () => {
    const header = Buffer.from(file.subarray(512, 1536));
    const sum = header.readUInt32BE(36);
    header.writeUInt32BE(0, 36);
    expect(sum).toBe(~header.reduce((total, byte) => total + byte, 0) >>> 0); // u32
  });
});

test('a time that stands for now limits that of the parent', () => {
  const stamp = (time?: number) => bytesOf(plan({ time })).readUInt32BE(512 + 56);
  expect(stamp(946684800 + 5)).toBe(5);
  expect(stamp(4e9)).toBe(0x01020304);
});

describe('is read again', () => {
  test.each([
    ['base.vhd', 'base.vhd', { W2ru: '.\\base.vhd' }],
    ['../up/bäse.vhd', '../up/bäse.vhd', { W2ru: '..\\up\\bäse.vhd' }],
    ['/srv/a b/base.vhd', '/srv/a b/base.vhd', { MacX: 'file:///srv/a%20b/base.vhd', W2ku: '\\srv\\a b\\base.vhd' }],
    [
      `${'long/'.repeat(200)}base.vhd`,
      `${'long/'.repeat(200)}base.vhd`,
      { W2ru: `.\\${'long\\'.repeat(200)}base.vhd` },
    ],
  ])('over %s', async (name, parent, locators) => {
    const image = await vhd.open(memorySource(bytesOf(plan({ base: base({ name }) })), 'child.vhd'), { gate });
    expect(image.subformat).toBe('differencing');
    expect(image.parent).toEqual({ kind: 'parent', name: parent, format: 'vhd' });
    expect(image.lineage).toMatchObject({ parents: [PARENT], parentChanged: 946684800 + 0x01020304 });
    expect(image.facts.details.parentLocators).toEqual(locators);
    expect(image.facts.details.parentUnicodeName).toBe(name.split('/').at(-1));
    for await (const batch of image.extents(0, 20 * MiB)) {
      expect(extentAt(batch, 0)).toMatchObject({ start: 0, length: 20 * MiB });
    }
  });
});

test('its id is not its parent’s, and another over another parent', () => {
  const id = (planned: WritePlan) => bytesOf(planned).toString('hex', 68, 84);
  const other = base({ lineage: { field: 'parentUniqueId', own: PARENT.replace('00', '01') } });
  expect(new Set([id(plan()), id(plan({ base: other })), id(plan({ base: undefined })), PARENT]).size).toBe(4);
});

test.each([
  ['another format', { base: base({ format: 'qcow2' }) }, /a VHD layer lies over a VHD image, and the base is qcow2/],
  ['a backslash', { base: base({ name: 'a\\b.vhd' }) }, /the base has a backslash in its path/],
  ['fixed', { options: { subformat: 'fixed' } }, /a fixed VHD holds the whole disk/],
] as const)('refused: %s', (_, more, message) => {
  expect(() => plan(more)).toThrow(expect.objectContaining({ code: 'usage' }));
  expect(() => plan(more)).toThrow(message);
});

test('more entries than a sector holds: the locator lies behind them', () => {
  const planned = plan({ virtualSize: 300 * MiB });
  const at = 1536 + SECTOR * Math.ceil(150 / 128);
  expect(planned.layout.dataStart).toBe(at + SECTOR);
  expect(bytesOf(planned).subarray(at, at + 20)).toEqual(utf16('.\\base.vhd'));
});
