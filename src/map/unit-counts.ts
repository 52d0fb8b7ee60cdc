/**
 * How many owners each unit (cluster, block, sector) of a file has. Held in pages, of which only those exist that are
 * partly owned: a range without owner costs nothing, nor does one in which each unit has exactly one, so a dense file
 * takes no more memory than an empty one. Between them a unit takes a bit, and a byte or four where it is shared.
 */
import { VdconvError } from '../base/errors.ts';
import { formatSize, MiB } from '../base/units.ts';

/** Units a page. */
const PAGE = 4096;
/** Of all pages together. One bit for each 64 KiB of 128 TiB, if no two neighbours had the same owner count. */
const MAX_BYTES = 256 * MiB;

interface Page {
  /** Units that have an owner, while `cells` are bits. */
  owned: number;
  /** PAGE / 8 bytes of bits, or PAGE counts. */
  cells: Uint8Array | Uint32Array;
}

/** Stands for each page in which every unit has one owner. */
const FULL: Page = { owned: PAGE, cells: new Uint8Array(0) };

export class UnitCounts {
  readonly #pages = new Map<number, Page>();
  readonly #file: string;
  #bytes = 0;
  /** The page that was asked for last: the next unit is in it as a rule. */
  #lastNumber = -1;
  #last: Page | undefined;

  /** @param file for the error, where this would take too much memory. */
  constructor(file: string) {
    this.#file = file;
  }

  get(unit: number): number {
    const index = unit % PAGE;
    const page = this.#page((unit - index) / PAGE);
    if (page === undefined || page === FULL) {
      return page === undefined ? 0 : 1;
    }
    return countIn(page, index);
  }

  /**
   * `by` more owners for each of `units` units from `first` on, up to `max` owners each.
   * @returns the most owners that one of them had before. Throws `limit`.
   */
  add(first: number, units = 1, by = 1, max = 0xffffffff): number {
    let most = 0;
    for (let unit = first; unit < first + units; ) {
      const index = unit % PAGE;
      const number = (unit - index) / PAGE;
      const count = Math.min(PAGE - index, first + units - unit);
      unit += count;
      let page = this.#page(number);
      if (page === undefined && count === PAGE && by === 1 && max > 0) {
        this.#keep(number, FULL);
        continue;
      }
      page = page === undefined || page === FULL ? this.#open(number, page) : page;
      for (let i = index; i < index + count; ) {
        if (by === 1 && max > 0 && i % 8 === 0 && i + 8 <= index + count && setByte(page, i)) {
          page.owned += 8;
          i += 8;
        } else {
          most = Math.max(most, this.#addOne(page, i, by, max));
          i += 1;
        }
      }
      if (page.owned === PAGE && page.cells.length !== PAGE) {
        this.#keep(number, FULL);
        this.#bytes -= page.cells.byteLength;
      }
    }
    return most;
  }

  /** The first unit from `from` on that may have an owner, at most `end`: whole pages without any are skipped. */
  next(from: number, end: number): number {
    let unit = from;
    while (unit < end && !this.#pages.has(Math.floor(unit / PAGE))) {
      unit += PAGE - (unit % PAGE);
    }
    return Math.min(unit, end);
  }

  /** Units that have an owner. */
  owned(): number {
    let sum = 0;
    for (const { cells, owned } of this.#pages.values()) {
      sum += cells.length === PAGE ? PAGE - zeros(cells) : owned;
    }
    return sum;
  }

  #addOne(page: Page, index: number, by: number, max: number): number {
    const before = countIn(page, index);
    const after = Math.min(max, before + by);
    if (after <= before) {
      return before;
    }
    if (page.cells.length !== PAGE) {
      if (after === 1) {
        page.cells[index >> 3] = (page.cells[index >> 3] as number) | (1 << (index & 7));
        page.owned += 1;
        return before;
      }
      const counts = new Uint8Array(PAGE);
      for (let i = 0; i < PAGE; i += 1) {
        counts[i] = countIn(page, i);
      }
      this.#widen(page, counts);
    }
    if (after > 0xff && page.cells instanceof Uint8Array) {
      this.#widen(page, Uint32Array.from(page.cells));
    }
    page.cells[index] = after;
    return before;
  }

  #open(number: number, before: Page | undefined): Page {
    const page = { owned: before?.owned ?? 0, cells: new Uint8Array(PAGE / 8).fill(before === undefined ? 0 : 0xff) };
    this.#charge(page.cells.byteLength);
    this.#keep(number, page);
    return page;
  }

  #page(number: number): Page | undefined {
    if (number !== this.#lastNumber) {
      this.#lastNumber = number;
      this.#last = this.#pages.get(number);
    }
    return this.#last;
  }

  #keep(number: number, page: Page): void {
    this.#pages.set(number, page);
    this.#lastNumber = number;
    this.#last = page;
  }

  #widen(page: Page, cells: Page['cells']): void {
    this.#charge(cells.byteLength - page.cells.byteLength);
    page.cells = cells;
  }

  #charge(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > MAX_BYTES) {
      const what = `what its tables refer to is so scattered that checking it takes more than ${formatSize(MAX_BYTES)}`;
      throw new VdconvError('limit', what, { file: this.#file });
    }
  }
}

function countIn({ cells }: Page, index: number): number {
  return cells.length === PAGE ? (cells[index] as number) : ((cells[index >> 3] as number) >> (index & 7)) & 1;
}

/** Gives eight units that have no owner their first one. @returns whether they had none, and are bits. */
function setByte({ cells }: Page, index: number): boolean {
  const at = index >> 3;
  if (cells.length === PAGE || cells[at] !== 0) {
    return false;
  }
  cells[at] = 0xff;
  return true;
}

function zeros(cells: Page['cells']): number {
  let sum = 0;
  for (const count of cells) {
    sum += count === 0 ? 1 : 0;
  }
  return sum;
}
