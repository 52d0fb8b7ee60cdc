import { BATCH, type BlockMap, type ExtentBatch, emptyBatch, Kind } from './extents.ts';

/** Two maps of one disk, cut alike: each pair of batches has the same borders. */
export type PairedMaps = AsyncGenerator<[ExtentBatch, ExtentBatch], void, undefined>;

/**
 * Walks two maps of one range together. Where there is nothing to compare, because both are zeros or both mean the same
 * bytes of the same file, both become `unallocated`; elsewhere neither is.
 *
 * @param fileOffset added to the files of `b`, which lie behind those of `a` in one list.
 * @param isSame whether a file of `a` and one of `b`, each by its own index, are one.
 */
export async function* paired(
  a: BlockMap,
  b: BlockMap,
  fileOffset: number,
  isSame: (a: number, b: number) => boolean,
): PairedMaps {
  const [left, right] = [new Cursor(a, 0), new Cursor(b, fileOffset)];
  let out: [ExtentBatch, ExtentBatch] = [emptyBatch(BATCH), emptyBatch(BATCH)];
  try {
    while ((left.ready || (await left.fetch())) && (right.ready || (await right.fetch()))) {
      const length = Math.min(left.length, right.length);
      if (bothZero(left, right) || bothMean(left, right, isSame)) {
        skip(out, left.start, length);
      } else {
        left.push(out[0], length);
        right.push(out[1], length);
      }
      left.advance(length);
      right.advance(length);
      if (out[0].count === BATCH) {
        yield out;
        out = [emptyBatch(BATCH), emptyBatch(BATCH)];
      }
    }
    if (out[0].count > 0) {
      yield out;
    }
  } finally {
    await Promise.all([left.close(), right.close()]);
  }
}

/** One map, extent by extent, from where the last one was left. */
class Cursor {
  readonly #map: AsyncIterator<ExtentBatch>;
  readonly #fileOffset: number;
  #batch: ExtentBatch = emptyBatch(0);
  #i = 0;
  /** Bytes of extent i that are done. */
  #cut = 0;

  constructor(map: BlockMap, fileOffset: number) {
    this.#map = map[Symbol.asyncIterator]();
    this.#fileOffset = fileOffset;
  }

  get ready(): boolean {
    return this.#i < this.#batch.count;
  }

  /** False at the map's end. */
  async fetch(): Promise<boolean> {
    while (!this.ready) {
      const step = await this.#map.next();
      if (step.done) {
        return false;
      }
      this.#batch = step.value;
      this.#i = 0;
    }
    return true;
  }

  get kind(): Kind {
    return this.#batch.kind[this.#i] as Kind;
  }

  get file(): number {
    return this.#batch.file[this.#i] as number;
  }

  get start(): number {
    return (this.#batch.start[this.#i] as number) + this.#cut;
  }

  get length(): number {
    return (this.#batch.length[this.#i] as number) - this.#cut;
  }

  /** Where the bytes are: in the file, or in a unit. */
  get place(): [offset: number, skip: number] {
    const [offset, skip] = [this.#batch.offset[this.#i] as number, this.#batch.skip[this.#i] as number];
    return this.kind === Kind.data ? [offset + this.#cut, 0] : [offset, skip + this.#cut];
  }

  push(to: ExtentBatch, length: number): void {
    const i = to.count;
    to.count = i + 1;
    to.start[i] = this.start;
    to.length[i] = length;
    if (!hasBytes(this.kind)) {
      to.kind[i] = Kind.zero;
      return;
    }
    to.kind[i] = this.kind;
    to.file[i] = this.file + this.#fileOffset;
    [to.offset[i], to.skip[i]] = this.place;
    to.stored[i] = this.#batch.stored[this.#i] as number;
  }

  advance(length: number): void {
    this.#cut += length;
    if (this.#cut === this.#batch.length[this.#i]) {
      this.#i += 1;
      this.#cut = 0;
    }
  }

  close(): Promise<unknown> | undefined {
    return this.#map.return?.();
  }
}

function hasBytes(kind: Kind): boolean {
  return kind === Kind.data || kind === Kind.compressed;
}

function bothZero(a: Cursor, b: Cursor): boolean {
  return !hasBytes(a.kind) && !hasBytes(b.kind);
}

function bothMean(a: Cursor, b: Cursor, isSame: (a: number, b: number) => boolean): boolean {
  if (a.kind !== b.kind || !isSame(a.file, b.file)) {
    return false;
  }
  const [placeA, placeB] = [a.place, b.place];
  return placeA[0] === placeB[0] && placeA[1] === placeB[1];
}

/** Says nothing of [start, start + length) in either; lengthens the last extent where that says nothing too. */
function skip(out: readonly [ExtentBatch, ExtentBatch], start: number, length: number): void {
  for (const to of out) {
    const last = to.count - 1;
    if (last >= 0 && to.kind[last] === Kind.unallocated) {
      to.length[last] = (to.length[last] as number) + length;
    } else {
      to.start[to.count] = start;
      to.length[to.count] = length;
      to.kind[to.count] = Kind.unallocated;
      to.count += 1;
    }
  }
}

/** The two maps apart again, for whoever takes both at the same pace: what only one has taken is kept for the other. */
export function apart(pairs: PairedMaps): [BlockMap, BlockMap] {
  const kept: [ExtentBatch[], ExtentBatch[]] = [[], []];
  let pulling: Promise<boolean> | undefined;
  // One step at a time, whichever side asks: both may wait for the same one.
  const pull = (): Promise<boolean> => {
    pulling ??= pairs.next().then((step) => {
      pulling = undefined;
      if (step.done) {
        return false;
      }
      kept[0].push(step.value[0]);
      kept[1].push(step.value[1]);
      return true;
    });
    return pulling;
  };
  const side = async function* (own: 0 | 1): BlockMap {
    while (kept[own].length > 0 || (await pull())) {
      const batch = kept[own].shift();
      if (batch !== undefined) {
        yield batch;
      }
    }
  };
  return [side(0), side(1)];
}
