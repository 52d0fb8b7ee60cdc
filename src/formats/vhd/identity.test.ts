/** What a VHD says of itself besides the disk: id, date, geometry, creator; read, taken over and asked for. */
import { describe, expect, test } from 'vitest';
import { GiB, MiB, SECTOR } from '../../base/units.ts';
import { memorySource } from '../../io/memory-source.ts';
import type { Content } from '../../map/layout.ts';
import type { OptionValue, WritePlan, WriteRequest } from '../format.ts';
import type { DiskMetadata } from '../metadata.ts';
import { takenGeometry } from './geometry.ts';
import { vhd } from './index.ts';
import { Footer } from './layout.ts';
import { options } from './options.ts';

const UUID = '00112233-4455-6677-8899-aabbccddeeff';
const gate = { open: () => Promise.reject(new Error('no references')), resolve: () => undefined };

function plan(more: Partial<WriteRequest> = {}, asked: Record<string, OptionValue> = {}): WritePlan {
  const defaults = Object.fromEntries(options.map((option) => [option.key, option.default]));
  const request = { virtualSize: 20 * MiB, options: { ...defaults, ...asked }, compress: false, ...more };
  return (vhd.plan as NonNullable<typeof vhd.plan>)(request);
}

/** The footer at the end of an empty disk. */
function footerOf({ writer, layout }: WritePlan, content?: Content) {
  const { pieces, size } = writer().finish(layout.kind === 'flat' ? 20 * MiB : layout.dataStart, content);
  const last = pieces.find(({ offset }) => offset === size - SECTOR);
  return Footer.peek(last?.bytes ?? new Uint8Array(0));
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

async function metadataOf(planned: WritePlan): Promise<DiskMetadata | undefined> {
  const { pieces, size } = planned.writer().finish(planned.layout.dataStart);
  const file = new Uint8Array(size);
  for (const { offset, bytes } of pieces) {
    file.set(bytes, offset);
  }
  return (await vhd.open(memorySource(file, 'disk.vhd'), { gate })).metadata;
}

describe('the id', () => {
  const content = (fill: number) => ({ fingerprint: new Uint8Array(16).fill(fill) });
  const id = (planned: WritePlan, of?: Content) => hex(footerOf(planned, of).uniqueId);

  test.each(['dynamic', 'fixed'])('follows from content and options: %s', (subformat) => {
    const planned = plan({}, { subformat });
    expect(planned.fingerprint).toBe(true);
    expect(id(planned, content(1))).toBe(id(plan({}, { subformat }), content(1)));
    const others = [
      id(planned, content(1)),
      id(planned, content(2)),
      id(plan({}, { subformat, force_size: true }), content(1)),
      id(plan({ virtualSize: 21 * MiB }, { subformat }), content(1)),
    ];
    expect(new Set(others).size).toBe(4);
  });

  test('is random where that is asked for, whatever the content', () => {
    const planned = plan({ randomId: new Uint8Array(16).fill(7) });
    expect(planned.fingerprint).toBe(false);
    expect(id(planned, content(1))).toBe(id(planned, content(2)));
    expect(id(planned)).not.toBe(id(plan({ randomId: new Uint8Array(16).fill(8) })));
  });

  test('is what the user says, in the order in which it is written', () => {
    const planned = plan({}, { uuid: UUID.toUpperCase() });
    expect(planned.fingerprint).toBe(false);
    expect(id(planned, content(1))).toBe('00112233445566778899aabbccddeeff');
  });

  test('of the source is not taken: VirtualBox refuses to know two', () => {
    const planned = plan({ metadata: { uuid: UUID } });
    expect(id(planned)).toBe(id(plan()));
    expect(planned.carried).toEqual([]);
  });
});

describe('the date', () => {
  test.each([
    ['none', undefined, 0],
    ['1999', 946684799, 0],
    ['one second into 2000', 946684801, 1],
    ['beyond 32 bits', 946684800 + 2 ** 32, 0xffffffff],
  ])('%s', (_, time, stamp) => {
    expect(footerOf(plan({ time })).timeStamp).toBe(stamp);
  });

  test('is read where there is one', async () => {
    expect((await metadataOf(plan({ time: 1735689600 })))?.time).toBe(1735689600);
    expect(await metadataOf(plan())).not.toHaveProperty('time');
  });
});

test('metadata: geometry, id and creator', async () => {
  expect(await metadataOf(plan({}, { uuid: UUID }))).toEqual({
    geometry: { cylinders: 602, heads: 4, sectors: 17 },
    uuid: UUID,
    creator: 'win 6.3',
  });
});

describe('a geometry of another image', () => {
  const chs = (cylinders: number, heads: number, sectors: number) => ({ cylinders, heads, sectors });

  test.each([
    ['VMware’s for IDE', 20 * MiB, chs(40, 16, 63), true],
    ['as many sectors as the disk', 20 * MiB, chs(20, 16, 128), true],
    ['more sectors than the disk', 20 * MiB, chs(41, 16, 63), false],
    ['a cylinder too few', 20 * MiB, chs(39, 16, 63), false],
    ['more heads than ATA has', 10 * GiB, chs(1305, 255, 63), false],
    ['more cylinders than a VHD can say', 200 * GiB, chs(65536, 16, 255), false],
    ['no heads', 20 * MiB, chs(40, 0, 63), false],
    ['the one that nobody goes by', 20 * MiB, chs(65535, 16, 255), true],
    ['none', 20 * MiB, undefined, false],
  ])('%s', (_, size, geometry, taken) => {
    expect(takenGeometry(geometry, size / SECTOR) !== undefined).toBe(taken);
  });

  test('is written and said to be, unless force_size is asked for', () => {
    const metadata = { geometry: chs(40, 16, 63), comment: 'x' };
    const planned = plan({ metadata });
    expect(planned.carried).toEqual(['geometry']);
    expect(footerOf(planned)).toMatchObject({ cylinders: 40, heads: 16, sectorsPerTrack: 63, currentSize: 20 * MiB });
    const forced = plan({ metadata }, { force_size: true });
    expect(forced.carried).toEqual([]);
    expect(footerOf(forced)).toMatchObject({ cylinders: 65535, heads: 16, sectorsPerTrack: 255 });
  });
});
