/** The bitmap in front of a block: a bit a sector, the highest bit of a byte first. VHD 1.0 §Data Blocks. */

export interface SectorRun {
  /** Sectors [from, to) of the block. */
  from: number;
  to: number;
  /** Stored here; otherwise the parent's. */
  present: boolean;
}

/** The runs of sectors [start, end) that say the same. */
export function* sectorRuns(bitmap: Uint8Array, start: number, end: number): Generator<SectorRun> {
  for (let from = start; from < end; ) {
    const present = bit(bitmap, from);
    const to = Math.min(end, runEnd(bitmap, from, present));
    yield { from, to, present };
    from = to;
  }
}

function bit(bitmap: Uint8Array, sector: number): boolean {
  return ((bitmap[sector >> 3] as number) & (0x80 >> (sector & 7))) !== 0;
}

/** Whole bytes of the same value are passed at once. */
function runEnd(bitmap: Uint8Array, from: number, present: boolean): number {
  const whole = present ? 0xff : 0;
  const last = bitmap.length * 8;
  let at = from;
  while (at < last && bit(bitmap, at) === present) {
    at += 1;
    while ((at & 7) === 0 && at < last && bitmap[at >> 3] === whole) {
      at += 8;
    }
  }
  return at;
}
