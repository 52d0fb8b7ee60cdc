import { expect, it } from 'vitest';
import { DataLimit } from './data-limit.ts';
import { BatchBuilder, type BlockMap, Kind } from './extents.ts';

type Row = [start: number, length: number, kind: Kind];

async function* mapOf(...rows: Row[]): BlockMap {
  for (const [start, length, kind] of rows) {
    const batch = new BatchBuilder(1);
    batch.push(start, length, kind, 0, 4096, kind === Kind.compressed ? 10 : 0);
    yield batch.take();
  }
}

async function pass(limit: DataLimit, ...rows: Row[]): Promise<number> {
  let batches = 0;
  for await (const _ of limit.map(mapOf(...rows))) {
    batches += 1;
  }
  return batches;
}

it('counts data and compressed units, not zeros, and stops before the batch that is too much', async () => {
  const rows: Row[] = [
    [0, 100, Kind.data],
    [100, 10_000, Kind.zero],
    [10_100, 50, Kind.compressed],
    [10_150, 10_000, Kind.unallocated],
  ];
  expect(await pass(new DataLimit(150, 'disk'), ...rows)).toBe(4);
  const passed: number[] = [];
  const over = async () => {
    for await (const batch of new DataLimit(149, 'a\nb').map(mapOf(...rows))) {
      passed.push(batch.start[0] as number);
    }
  };
  await expect(over()).rejects.toMatchObject({
    code: 'limit',
    message:
      'a\\x0ab: holds more than 149 B of data, too much for a file of its size; it may be made to fill your disk; ' +
      'if you trust it, say how much you accept with --max-output=SIZE',
  });
  expect(passed).toEqual([0, 100]);
});

it('counts once what a second pass reads again, and adds the parts of a disk', async () => {
  const limit = new DataLimit(200, 'disk');
  await pass(limit, [0, 100, Kind.data]);
  await pass(limit, [0, 100, Kind.data]);
  await pass(limit, [100, 100, Kind.data]);
  await expect(pass(limit, [150, 51, Kind.data])).rejects.toMatchObject({ code: 'limit' });
});
