/** QCOW2 §External data file: where its clusters lie, who may open it, and what is refused. */
import { describe, expect, test } from 'vitest';
import { MiB } from '../../base/units.ts';
import { refusingGate } from '../../io/gate.ts';
import type { Reference, ReferenceGate } from '../../io/types.ts';
import { checked } from '../../map/checked.ts';
import { collect } from '../../testing/map-model.ts';
import { lines, sparseSource } from '../../testing/typed-image.ts';
import { openQcow2 } from './reader.ts';

/** Vector H: 1 MiB over `x2.raw`, raw, as QEMU creates it; L1 at 0x30000, L2 at 0x40000. */
const RAW_EXTERNAL = {
  0: `514649fb 00000003 0000000000000000 00000000 00000010 0000000000100000 00000000 00000001
      0000000000030000 0000000000010000 00000001 00000000 0000000000000000`,
  72: '0000000000000004 0000000000000000 0000000000000002 00000004 00000070',
  112: '44415441 00000006 78322e726177 0000',
  65536: '0000000000020000',
  196608: '8000000000040000',
  262144: '8000000000000000 8000000000010000 8000000000020000',
};
/** The same without raw mode: the second cluster is not allocated, the third is zeros. */
const EXTERNAL = {
  ...RAW_EXTERNAL,
  88: '0000000000000000',
  262144: '8000000000000000 0000000000000000 8000000000020001',
};

/** A gate that gives a data file of `size` bytes, and what it was asked for. */
function gateTo(size: number): ReferenceGate & { asked: Reference[] } {
  const asked: Reference[] = [];
  return {
    asked,
    resolve: () => undefined,
    async open(reference) {
      asked.push(reference);
      return { ...sparseSource(size, {}), name: 'x2.raw' };
    },
  };
}

const open = (patch: Record<number, string>, gate: ReferenceGate) => openQcow2(sparseSource(0x50000, patch), { gate });

async function mapOf(patch: Record<number, string>, gate: ReferenceGate = gateTo(MiB), end = MiB) {
  const image = await open(patch, gate);
  return lines(await collect(checked(image.extents(0, end), 0, end)));
}

test('raw: the guest lies in the data file byte for byte, and cluster 0 at offset 0', async () => {
  const gate = gateTo(MiB);
  const image = await open(RAW_EXTERNAL, gate);
  expect(gate.asked).toEqual([{ kind: 'data-file', name: 'x2.raw', format: 'raw' }]);
  expect(image.dataFiles.map((f) => f.source.name)).toEqual(['x2.raw']);
  expect(image.facts.details).toMatchObject({ dataFile: 'x2.raw', dataFileRaw: true });
  expect(lines(await collect(image.extents(0, 3 * 65536)))).toEqual(['0+196608 data 0']);
});

test('not raw: unallocated and zero clusters are what the tables say, whatever the file holds', async () => {
  expect(await mapOf(EXTERNAL)).toEqual([
    '0+65536 data 0',
    '65536+65536 unallocated',
    '131072+65536 zero',
    '196608+851968 unallocated',
  ]);
  expect((await open(EXTERNAL, gateTo(MiB))).facts.details).toMatchObject({ dataFileRaw: false });
});

test('an image may have a backing file too, unless it is raw', async () => {
  const backed = { 8: '0000000000000090 00000004', 144: '62617365' };
  expect((await open({ ...EXTERNAL, ...backed }, gateTo(MiB))).parent).toMatchObject({ name: 'base' });
  await expect(open({ ...RAW_EXTERNAL, ...backed }, gateTo(MiB))).rejects.toMatchObject({
    code: 'corrupt',
    field: 'autoclearFeatures',
    offset: 88,
  });
});

test('the raw bit without a data file says nothing', async () => {
  const image = await open({ ...RAW_EXTERNAL, 79: '00' }, refusingGate());
  expect(image.facts.references).toEqual([]);
  expect(image.facts.details).not.toHaveProperty('dataFile');
});

describe('refused', () => {
  test('by default; what the image is can still be said', async () => {
    const image = await open(RAW_EXTERNAL, refusingGate());
    expect(image.facts.references).toEqual([{ kind: 'data-file', name: 'x2.raw', format: 'raw' }]);
    await expect(collect(image.extents(0, 1))).rejects.toMatchObject({ code: 'refused', field: 'data-file' });
  });

  test.each(['/etc/passwd', "json:{'driver':'raw','file.filename':'/etc/passwd'}", '/proc/self/fd/0', 'nbd://h/x'])(
    'a name that leads elsewhere: %s',
    async (name) => {
      const text = Buffer.from(name).toString('hex');
      const length = name.length.toString(16).padStart(8, '0');
      const image = await open({ ...RAW_EXTERNAL, 112: `44415441 ${length} ${text}` }, refusingGate());
      await expect(collect(image.extents(0, 1))).rejects.toMatchObject({ code: 'refused', field: 'data-file' });
    },
  );

  test('a feature bit without a name', async () => {
    const gate = gateTo(MiB);
    const image = await open({ ...EXTERNAL, 112: '00000000 00000000' }, gate);
    expect(gate.asked).toEqual([]);
    await expect(collect(image.extents(0, 1))).rejects.toMatchObject({
      code: 'corrupt',
      field: 'incompatibleFeatures',
      offset: 72,
    });
  });

  test.each([
    ['a cluster that is not at its guest offset', '8000000000010000', /guest offset 0 .*at its guest offset/],
    ['a compressed cluster', '4000000000020000', /guest offset 0 .*no compressed clusters/],
  ])('%s', async (_, entry, says) => {
    const found = mapOf({ ...EXTERNAL, 262144: entry });
    await expect(found).rejects.toMatchObject({ code: 'corrupt', offset: 0x40000 });
    await expect(mapOf({ ...EXTERNAL, 262144: entry })).rejects.toThrow(says);
  });

  test('a data file that ends too early, unless nothing of it is wanted there', async () => {
    await expect(mapOf(RAW_EXTERNAL, gateTo(0x30000 - 1), 0x30000)).rejects.toThrow(/the data file ends at 196607/);
    await expect(mapOf(EXTERNAL, gateTo(0x10000))).resolves.toHaveLength(4);
  });
});

test('subclusters in a data file: COPIED places the first cluster at 0', async () => {
  const entries = '8000000000000000 0000000200000001 0000000000000000 ffffffff00000000';
  expect(await mapOf({ ...EXTERNAL, 79: '14', 262144: entries }, gateTo(MiB), 0x20000)).toEqual([
    '0+2048 data 0',
    '2048+2048 zero',
    '4096+61440 unallocated',
    '65536+65536 zero',
  ]);
});
