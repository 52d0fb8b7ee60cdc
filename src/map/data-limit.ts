import { VdconvError } from '../base/errors.ts';
import { formatSize } from '../base/units.ts';
import { type BlockMap, type ExtentBatch, Kind } from './extents.ts';

/** How many guest bytes a conversion may read; what several passes read twice counts once. */
export class DataLimit {
  readonly #most: number;
  readonly #file: string;
  #sum = 0;
  /** Everything before this guest byte is in the sum. */
  #counted = 0;

  /** @param file the image, for the message. */
  constructor(most: number, file: string) {
    this.#most = most;
    this.#file = file;
  }

  /** Passes a map on; throws `limit` before the batch that goes over it. Maps must come in virtual order, or again. */
  async *map(map: BlockMap): BlockMap {
    for await (const batch of map) {
      this.#count(batch);
      yield batch;
    }
  }

  #count({ count, start, length, kind }: ExtentBatch): void {
    for (let i = 0; i < count; i += 1) {
      const end = (start[i] as number) + (length[i] as number);
      if (kind[i] === Kind.data || kind[i] === Kind.compressed) {
        this.#sum += Math.max(0, end - Math.max(start[i] as number, this.#counted));
      }
      this.#counted = Math.max(this.#counted, end);
    }
    if (this.#sum > this.#most) {
      const most = formatSize(this.#most);
      throw new VdconvError('limit', `holds more than ${most} of data, too much for a file of its size`, {
        file: this.#file,
        hint: 'it may be made to fill your disk; if you trust it, say how much you accept with --max-output=SIZE',
      });
    }
  }
}
