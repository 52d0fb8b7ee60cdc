import { expect, it } from 'vitest';
import { BatchBuilder, type BlockMap, type Extent, extentAt, Kind } from './extents.ts';
import { apart, paired } from './paired.ts';

type Row = [start: number, length: number, kind: Kind, file?: number, offset?: number, stored?: number, skip?: number];

async function* map(...rows: Row[]): BlockMap {
  for (const row of rows) {
    const out = new BatchBuilder();
    out.push(...row);
    yield out.take();
  }
}

async function rows(from: BlockMap): Promise<Row[]> {
  const seen: Extent[] = [];
  for await (const batch of from) {
    for (let i = 0; i < batch.count; i += 1) {
      seen.push(extentAt(batch, i));
    }
  }
  return seen.map((e) => [e.start, e.length, e.kind, e.file, e.offset, e.stored, e.skip]);
}

const pair = (a: BlockMap, b: BlockMap) => apart(paired(a, b, 10, (x, y) => x === 1 && y === 1));

it('cuts both alike, and says nothing where both are zeros', async () => {
  const [a, b] = pair(
    map([0, 100, Kind.zero], [100, 50, Kind.data, 0, 1000], [150, 150, Kind.unallocated]),
    map([0, 40, Kind.unallocated], [40, 100, Kind.data, 0, 7], [140, 160, Kind.zero]),
  );
  const [left, right] = await Promise.all([rows(a), rows(b)]);
  expect(left).toEqual([
    [0, 40, Kind.unallocated, 0, 0, 0, 0],
    [40, 60, Kind.zero, 0, 0, 0, 0],
    [100, 40, Kind.data, 0, 1000, 0, 0],
    [140, 10, Kind.data, 0, 1040, 0, 0],
    [150, 150, Kind.unallocated, 0, 0, 0, 0],
  ]);
  expect(right).toEqual([
    [0, 40, Kind.unallocated, 0, 0, 0, 0],
    [40, 60, Kind.data, 10, 7, 0, 0],
    [100, 40, Kind.data, 10, 67, 0, 0],
    [140, 10, Kind.zero, 0, 0, 0, 0],
    [150, 150, Kind.unallocated, 0, 0, 0, 0],
  ]);
});

it('leaves out what both take from one place, and only that', async () => {
  const unit = (start: number, length: number, file: number, skip: number): Row => [
    ...([start, length, Kind.compressed, file, 500, 80, skip] as const),
  ];
  const [a, b] = pair(
    map([0, 100, Kind.data, 1, 1000], [100, 100, Kind.data, 1, 5000], unit(200, 64, 1, 0), unit(264, 64, 1, 0)),
    map([0, 100, Kind.data, 1, 1000], [100, 100, Kind.data, 1, 5001], unit(200, 64, 1, 0), unit(264, 64, 1, 1)),
  );
  const [left, right] = await Promise.all([rows(a), rows(b)]);
  expect(left.map(([start, length, kind]) => [start, length, kind])).toEqual([
    [0, 100, Kind.unallocated],
    [100, 100, Kind.data],
    [200, 64, Kind.unallocated],
    [264, 64, Kind.compressed],
  ]);
  expect(right.map(([, , kind, file]) => [kind, file])).toEqual([
    [Kind.unallocated, 0],
    [Kind.data, 11],
    [Kind.unallocated, 0],
    [Kind.compressed, 11],
  ]);
});
