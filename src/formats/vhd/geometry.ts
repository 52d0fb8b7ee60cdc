/** Cylinders, heads and sectors, and how large a disk is by them. VHD 1.0 §Appendix: CHS Calculation. */
import { type Sectors, sectorsToBytes } from '../../base/units.ts';
import type { DiskMetadata } from '../metadata.ts';

export interface Geometry {
  cylinders: number;
  heads: number;
  sectorsPerTrack: number;
}

/** The largest geometry, 127.5 GiB: larger disks have it, and it tells every reader to go by `currentSize`. */
export const MAX_GEOMETRY: Geometry = { cylinders: 65535, heads: 16, sectorsPerTrack: 255 };

export function chsSectors({ cylinders, heads, sectorsPerTrack }: Geometry): Sectors {
  return cylinders * heads * sectorsPerTrack;
}

/** The geometry of a disk; it holds at most the disk and less than a cylinder less, where it is not the largest. */
export function geometryOf(sectors: Sectors): Geometry {
  const total = Math.min(sectors, chsSectors(MAX_GEOMETRY));
  if (total >= 65535 * 16 * 63) {
    return geometry(Math.floor(total / 255), 16, 255);
  }
  let cylinderTimesHeads = Math.floor(total / 17);
  const heads = Math.max(4, Math.ceil(cylinderTimesHeads / 1024));
  if (heads <= 16 && cylinderTimesHeads < heads * 1024) {
    return geometry(cylinderTimesHeads, heads, 17);
  }
  cylinderTimesHeads = Math.floor(total / 31);
  return cylinderTimesHeads < 16 * 1024
    ? geometry(cylinderTimesHeads, 16, 31)
    : geometry(Math.floor(total / 63), 16, 63);
}

function geometry(cylinderTimesHeads: number, heads: number, sectorsPerTrack: number): Geometry {
  return { cylinders: Math.floor(cylinderTimesHeads / heads), heads, sectorsPerTrack };
}

/**
 * Another image's geometry, where a VHD can say it: within ATA's bounds, and holding as much of the disk as
 * {@link geometryOf} does, lest a program that goes by it cut the disk.
 */
export function takenGeometry(other: DiskMetadata['geometry'], sectors: Sectors): Geometry | undefined {
  if (other === undefined) {
    return undefined;
  }
  const { cylinders, heads, sectors: sectorsPerTrack } = other;
  const fits = (n: number, max: number) => Number.isInteger(n) && n >= 1 && n <= max;
  const taken = { cylinders, heads, sectorsPerTrack };
  const left = sectors - chsSectors(taken);
  const isLegal = fits(cylinders, 65535) && fits(heads, 16) && fits(sectorsPerTrack, 255);
  const isWhole = left >= 0 && left < heads * sectorsPerTrack;
  return isLegal && (isWhole || chsSectors(taken) === chsSectors(MAX_GEOMETRY)) ? taken : undefined;
}

/**
 * Bytes by the geometry, where a guest of Virtual PC saw those and not `currentSize`: its geometry is `currentSize`
 * rounded down by less than a cylinder. Undefined: `currentSize` is the disk.
 */
export function chsSize(shown: Geometry, currentSize: number): number | undefined {
  const size = sectorsToBytes(chsSectors(shown));
  const cylinder = sectorsToBytes(shown.heads * shown.sectorsPerTrack);
  const isMax = chsSectors(shown) === chsSectors(MAX_GEOMETRY);
  return !isMax && size > 0 && size < currentSize && currentSize - size < cylinder ? size : undefined;
}
