/** Which parts of the file have an owner, one bit a MiB. [MS-VHDX] §2.1: objects are whole MiB and do not overlap. */
import { UNIT } from './layout.ts';

export class Occupied {
  readonly #bits: Uint8Array;

  constructor(bits: Uint8Array) {
    this.#bits = bits;
  }

  /** A file of `size` bytes in which the header section is taken. */
  static inFile(size: number): Occupied {
    const occupied = new Occupied(new Uint8Array(Math.ceil(size / UNIT / 8)));
    occupied.claim(0, UNIT);
    return occupied;
  }

  clone(): Occupied {
    return new Occupied(this.#bits.slice());
  }

  /** Takes [offset, offset + length) as far as it lies in the file. @returns whether all of it was free. */
  claim(offset: number, length: number): boolean {
    const bits = this.#bits;
    const end = Math.min((offset + length) / UNIT, bits.length * 8);
    let free = true;
    for (let unit = offset / UNIT; unit < end; unit += 1) {
      const bit = 1 << (unit % 8);
      const at = Math.floor(unit / 8);
      const before = bits[at] as number;
      free &&= (before & bit) === 0;
      bits[at] = before | bit;
    }
    return free;
  }

  /** How many units are taken. */
  units(): number {
    let sum = 0;
    for (const byte of this.#bits) {
      for (let rest = byte; rest !== 0; rest &= rest - 1) {
        sum += 1;
      }
    }
    return sum;
  }

  /** The unit behind the last one that is taken. */
  end(): number {
    const last = this.#bits.findLastIndex((byte) => byte !== 0);
    return last < 0 ? 0 : last * 8 + 32 - Math.clz32(this.#bits[last] as number);
  }
}
