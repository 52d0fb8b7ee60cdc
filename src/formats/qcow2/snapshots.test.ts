/** QCOW2 §Snapshots: which one is meant, the disk as it was, and tables that lie. */
import { describe, expect, test } from 'vitest';
import { KiB } from '../../base/units.ts';
import { refusingGate } from '../../io/gate.ts';
import { checked } from '../../map/checked.ts';
import { collect } from '../../testing/map-model.ts';
import { lines, sparseSource } from '../../testing/typed-image.ts';
import { openQcow2 } from './reader.ts';

/** An entry whose extra data says `size` bytes; its L1 table has one entry. */
function entry(l1: string, id: string, name: string, size = '0000000000008000', l1Size = '00000001'): string {
  const [idHex, nameHex] = [id, name].map((text) => Buffer.from(text).toString('hex')) as [string, string];
  const length = (hex: string) => (hex.length / 2).toString(16).padStart(4, '0');
  const fields = `${l1} ${l1Size} ${length(idHex)} ${length(nameHex)} 66000000 00000000 0000000000000000 00000000 00000018`;
  const text = `${fields} 0000000000000000 ${size} 0000000000000000 ${idHex}${nameHex}`.replaceAll(' ', '');
  return text.padEnd(Math.ceil(text.length / 16) * 16, '0');
}

/**
 * 64 KiB now, clusters of 512 bytes, L1 at 0x600, nothing allocated. The snapshot table at 0x1000; L1 tables of snapshots
 * at 0x2000, 0x2200, whose L2 tables at 0x3000, 0x3200 begin with data at 0x4000 and 0x4200.
 */
function withSnapshots(entries: readonly string[], patch: Record<number, string> = {}) {
  return sparseSource(0x5000, {
    0: `514649fb 00000003 0000000000000000 00000000 00000009 0000000000010000 00000000 00000002
        0000000000000600 0000000000000200 00000001 ${entries.length.toString(16).padStart(8, '0')} 0000000000001000`,
    72: '0000000000000000 0000000000000000 0000000000000000 00000004 00000068',
    512: '0000000000000400',
    4096: entries.join(''),
    8192: '0000000000003000',
    8704: '0000000000003200',
    12288: '0000000000004000',
    12800: '0000000000004200',
    ...patch,
  });
}

const FIRST = entry('0000000000002000', '1', 'one');
const SECOND = entry('0000000000002200', '2', 'two', '0000000000004000');

async function mapOf(source: ReturnType<typeof withSnapshots>, snapshot?: string) {
  const image = await openQcow2(source, { gate: refusingGate(), snapshot });
  return lines(await collect(checked(image.extents(0, image.virtualSize), 0, image.virtualSize)));
}

const two = () => withSnapshots([FIRST, SECOND]);

test('by id, by name, and as qemu-img says it: its own tables and its own size', async () => {
  const one = ['0+512 data 16384', '512+32256 unallocated'];
  const other = ['0+512 data 16896', '512+15872 unallocated'];
  expect(await mapOf(two())).toEqual(['0+65536 unallocated']);
  for (const said of ['1', 'one', 'snapshot.id=1', 'snapshot.name=one', 'snapshot.id=1,snapshot.name=one']) {
    expect(await mapOf(two(), said)).toEqual(one);
  }
  expect(await mapOf(two(), 'two')).toEqual(other);
  const { facts, virtualSize } = await openQcow2(two(), { gate: refusingGate(), snapshot: 'two' });
  expect(virtualSize).toBe(16 * KiB);
  expect(facts.snapshots).toEqual([
    { id: '1', name: 'one', time: 0x66000000, virtualSize: 32 * KiB },
    { id: '2', name: 'two', time: 0x66000000, virtualSize: 16 * KiB },
  ]);
});

test('an old image, without extra data: the size of the disk', async () => {
  const old = `0000000000002000 00000002 0001 0001 00000000 00000000 0000000000000000 00000000 00000000 3161`;
  expect(await mapOf(withSnapshots([old]), 'a')).toEqual(['0+512 data 16384', '512+65024 unallocated']);
});

test('names with commas, doubled as in every option', async () => {
  const source = () => withSnapshots([FIRST, entry('0000000000002200', '9', 'a,b')]);
  expect(await mapOf(source(), 'a,b')).toHaveLength(2);
  expect(await mapOf(source(), 'snapshot.name=a,,b,snapshot.id=9')).toHaveLength(2);
});

describe('refused', () => {
  test('one that is not there', async () => {
    await expect(mapOf(two(), 'three')).rejects.toMatchObject({ code: 'usage' });
    await expect(mapOf(two(), 'three')).rejects.toThrow(/snapshot 'three': there is none.*there are 1 'one', 2 'two'/);
    await expect(mapOf(two(), 'snapshot.id=1,snapshot.name=two')).rejects.toThrow(/there is none/);
    await expect(mapOf(withSnapshots([]), 'x')).rejects.toThrow(/the image has no internal snapshots/);
    await expect(mapOf(two(), 'snapshot.what=1')).rejects.toThrow(/takes snapshot.id=ID,snapshot.name=NAME/);
  });

  test('a name that two have, or that is the id of another', async () => {
    const twice = () => withSnapshots([entry('0000000000002000', '1', 'same'), entry('0000000000002200', '2', 'same')]);
    await expect(mapOf(twice(), 'same')).rejects.toMatchObject({ code: 'usage' });
    await expect(mapOf(twice(), 'same')).rejects.toThrow(/could be 1 'same', 2 'same'.*snapshot.id=ID/);
    expect(await mapOf(twice(), 'snapshot.id=2')).toEqual(['0+512 data 16896', '512+32256 unallocated']);
    const crossed = () => withSnapshots([entry('0000000000002000', '1', '2'), entry('0000000000002200', '2', '1')]);
    await expect(mapOf(crossed(), '1')).rejects.toThrow(/could be/);
    expect(await mapOf(crossed(), 'snapshot.name=1')).toEqual(['0+512 data 16896', '512+32256 unallocated']);
  });

  test.each([
    ['an L1 table at 0', entry('0000000000000000', '1', 'x'), 'corrupt', 'l1TableOffset', 0x1000],
    ['an unaligned L1 table', entry('0000000000002008', '1', 'x'), 'corrupt', 'l1TableOffset', 0x1000],
    ['an L1 table beyond the file', entry('0000010000000000', '1', 'x'), 'truncated', 'l1TableOffset', 0x1000],
    [
      'an L1 table of 2^32-1 entries',
      entry('0000000000002000', '1', 'x', undefined, 'ffffffff'),
      'limit',
      'l1Size',
      0x1008,
    ],
    ['too few L1 entries', entry('0000000000002000', '1', 'x', '0000000000010000'), 'corrupt', 'l1Size', 0x1008],
    ['a disk of 2^64-1 bytes', entry('0000000000002000', '1', 'x', 'ffffffffffffffff'), 'limit', 'diskSize', 0x1030],
  ])('%s, when it is chosen', async (_, bad, code, field, offset) => {
    const source = () => withSnapshots([bad, SECOND]);
    await expect(mapOf(source(), 'x')).rejects.toMatchObject({ code, field, offset });
    await expect(mapOf(source())).resolves.toHaveLength(1);
    await expect(mapOf(source(), 'two')).resolves.toHaveLength(2);
  });

  test('an L2 table of the snapshot that lies in its own L1 table', async () => {
    await expect(mapOf(withSnapshots([FIRST], { 8192: '0000000000002000' }), 'one')).rejects.toThrow(
      /L1 table: entry 0 .* at offset 8192 .*inside the L1 table/,
    );
  });

  test('with an external data file: snapshots there are none', async () => {
    const source = withSnapshots([FIRST], { 79: '04', 104: '44415441 00000001 78' });
    await expect(mapOf(source, 'one')).rejects.toMatchObject({ code: 'corrupt', field: 'nbSnapshots' });
  });
});

test('the state of the machine behind the disk is no part of it', async () => {
  // The L1 table has entries beyond the disk's need: qemu keeps the machine's memory there.
  const source = withSnapshots([entry('0000000000002000', '1', 'vm', '0000000000008000', '00000002')], {
    8200: '0000000000003200',
  });
  expect(await mapOf(source, 'vm')).toEqual(['0+512 data 16384', '512+32256 unallocated']);
});
