/**
 * A plain disk in memory, the model that images are compared with: a size and a list of runs, whose bytes follow from a
 * seed. What lies between the runs is a hole.
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { alignDown, MiB } from '../base/units.ts';
import { PAGE, type Pattern, patternPage } from './patterns.ts';

export interface Run {
  start: number;
  length: number;
  pattern: Pattern;
}

export class ModelDisk {
  /** Bytes of the virtual disk. */
  readonly size: number;
  /** In order, apart or touching, never overlapping, all within the size. */
  readonly runs: readonly Run[];
  readonly #seed: number;
  readonly #name: string;

  /** @param name how a failing property shows the disk: the call that makes it again. */
  constructor(size: number, runs: readonly Run[], seed: number, name = `ModelDisk(${size}, …, ${seed})`) {
    this.size = size;
    this.runs = runs;
    this.#seed = seed;
    this.#name = name;
  }

  toString(): string {
    return this.#name;
  }

  /** The guest's bytes at [offset, offset + length), which lies within the disk. */
  bytes(offset: number, length: number): Uint8Array {
    if (offset < 0 || length < 0 || offset + length > this.size) {
      throw new RangeError(`[${offset}, ${offset + length}) is outside a disk of ${this.size} bytes`);
    }
    const out = new Uint8Array(length);
    for (const run of this.runs) {
      const from = Math.max(run.start, offset);
      const to = Math.min(run.start + run.length, offset + length);
      if (from < to && run.pattern !== 'zeros') {
        this.#fill(out.subarray(from - offset, to - offset), from, run.pattern);
      }
    }
    return out;
  }

  /** SHA-256 of the whole disk, in hexadecimal. */
  sha256(): string {
    const hash = createHash('sha256');
    for (let at = 0; at < this.size; at += MiB) {
      hash.update(this.bytes(at, Math.min(MiB, this.size - at)));
    }
    return hash.digest('hex');
  }

  /** Writes the disk as a raw image: runs are written, written zeros too, the rest is a hole where the system has them. */
  async writeRawFile(path: string): Promise<void> {
    const file = await open(path, 'w');
    try {
      await file.truncate(this.size);
      for (const run of this.runs) {
        const end = run.start + run.length;
        for (let at = run.start; at < end; at += MiB) {
          const chunk = this.bytes(at, Math.min(MiB, end - at));
          const { bytesWritten } = await file.write(chunk, 0, chunk.length, at);
          if (bytesWritten !== chunk.length) {
            throw new Error(`${path}: wrote ${bytesWritten} of ${chunk.length} bytes at ${at}`);
          }
        }
      }
    } finally {
      await file.close();
    }
  }

  #fill(out: Uint8Array, guest: number, pattern: Pattern): void {
    const end = guest + out.length;
    for (let page = alignDown(guest, PAGE); page < end; page += PAGE) {
      const bytes = patternPage(pattern, this.#seed, page / PAGE);
      const from = Math.max(page, guest);
      const to = Math.min(page + PAGE, end);
      out.set(bytes.subarray(from - page, to - page), from - guest);
    }
  }
}
