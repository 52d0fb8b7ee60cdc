/**
 * `--salvage`: the map of an image as far as it can be read. Every byte is read once before it is copied, because only then
 * is it known whether it can be; what cannot is zeros from then on, and in the list.
 */

import { throwIfAborted } from '../base/abort.ts';
import { alignUp, KiB } from '../base/units.ts';
import type { Engine } from '../engine/contract.ts';
import type { DataFile } from '../map/data-file.ts';
import { BATCH, BatchBuilder, type BlockMap, type Extent, extentAt, Kind } from '../map/extents.ts';
import { isLoss, LostRanges } from './lost.ts';
import { PIECE } from './pieces.ts';
import type { Reasons } from './salvage-layer.ts';

/** The least of plain data that is given up: a page, which is what the system reads of a disk that fails. */
const LEAST = 4 * KiB;

export class Salvage {
  readonly lost: LostRanges = new LostRanges();
  readonly #engine: Engine;
  readonly #files: readonly DataFile[];
  /** By index in `files`: those that stand for lost ranges of a layer. */
  readonly #reasons: ReadonlyMap<number, Reasons>;
  readonly #signal: AbortSignal | undefined;

  constructor(
    engine: Engine,
    files: readonly DataFile[],
    reasons: ReadonlyMap<number, Reasons>,
    signal: AbortSignal | undefined,
  ) {
    this.#engine = engine;
    this.#files = files;
    this.#reasons = reasons;
    this.#signal = signal;
  }

  async *map(map: BlockMap): BlockMap {
    // A group has at most PIECE / 512 extents, and is added whole.
    const out = new BatchBuilder(3 * BATCH);
    let group: Extent[] = [];
    let bytes = 0;
    for await (const batch of map) {
      for (let i = 0; i < batch.count; i += 1) {
        for (const part of this.#parts(extentAt(batch, i))) {
          const isPlain = part.kind === Kind.data || part.kind === Kind.compressed;
          if (group.length > 0 && (!isPlain || bytes + part.length > PIECE)) {
            await this.#verify(group, out);
            [group, bytes] = [[], 0];
          }
          if (isPlain) {
            group.push(part);
            bytes += part.length;
          } else {
            out.push(part.start, part.length, part.kind);
          }
          if (out.count >= BATCH) {
            yield out.take();
          }
        }
      }
    }
    if (group.length > 0) {
      await this.#verify(group, out);
    }
    if (out.count > 0) {
      yield out.take();
    }
  }

  /** In pieces that are read at once; what lies beyond the end of its file is lost without a try. */
  *#parts(extent: Extent): Generator<Extent> {
    const { start, length, kind, file, offset } = extent;
    const end = start + length;
    if (kind === Kind.zero || kind === Kind.unallocated) {
      yield extent;
      return;
    }
    const reasons = this.#reasons.get(file);
    if (reasons !== undefined) {
      yield this.#give(start, end, reasons.at(start));
      return;
    }
    const { name = '', size = 0 } = this.#files[file]?.source ?? {};
    const there = kind === Kind.data ? Math.min(length, Math.max(0, size - offset)) : offset < size ? length : 0;
    if (kind === Kind.compressed && there > 0) {
      yield extent;
    } else {
      for (let at = 0; at < there; at += PIECE) {
        yield { ...extent, start: start + at, length: Math.min(PIECE, there - at), offset: offset + at };
      }
    }
    if (there < length) {
      yield this.#give(start + there, end, `${name}: the file ends at ${size}`);
    }
  }

  /** Adds to `out` what can be read, and zeros for the rest. The extents follow one another. */
  async #verify(extents: readonly Extent[], out: BatchBuilder): Promise<void> {
    throwIfAborted(this.#signal);
    const [first] = extents as [Extent];
    const last = extents.at(-1) as Extent;
    const end = last.start + last.length;
    try {
      await this.#engine.read(this.#files, mapOf(extents), first.start, end - first.start);
    } catch (error) {
      if (!isLoss(error)) {
        throw error;
      }
      const halves = extents.length > 1 ? halvesOfList(extents) : halvesOfData(first);
      if (halves === undefined) {
        const { start, length, kind } = this.#give(first.start, end, error.message);
        out.push(start, length, kind);
        return;
      }
      for (const half of halves) {
        await this.#verify(half, out);
      }
      return;
    }
    for (const { start, length, kind, file, offset, stored, skip } of extents) {
      out.push(start, length, kind, file, offset, stored, skip);
    }
  }

  #give(start: number, end: number, why: string): Extent {
    this.lost.add(start, end, why);
    return { start, length: end - start, kind: Kind.zero, file: 0, offset: 0, stored: 0, skip: 0 };
  }
}

function halvesOfList(extents: readonly Extent[]): Extent[][] {
  const middle = Math.ceil(extents.length / 2);
  return [extents.slice(0, middle), extents.slice(middle)];
}

/** Cut where a page of the file begins; undefined where there is none inside. */
function halvesOfData(extent: Extent): Extent[][] | undefined {
  const { start, length, kind, offset } = extent;
  const cut = alignUp(offset + Math.ceil(length / 2), LEAST) - offset;
  const at = cut < length ? cut : alignUp(offset + 1, LEAST) - offset;
  if (kind !== Kind.data || at >= length) {
    return undefined;
  }
  return [[{ ...extent, length: at }], [{ ...extent, start: start + at, length: length - at, offset: offset + at }]];
}

async function* mapOf(extents: readonly Extent[]): BlockMap {
  const batch = new BatchBuilder(extents.length);
  for (const { start, length, kind, file, offset, stored, skip } of extents) {
    batch.push(start, length, kind, file, offset, stored, skip);
  }
  yield batch.take();
}
