/**
 * What vdconv takes at most, whatever an image says: time and memory are bounded by these and by the size of the files
 * that the user named. Besides them each format has the limits of its specification.
 */
import { GiB, MiB, TiB } from './units.ts';

export interface Limits {
  /** Bytes that the guest sees. */
  virtualSize: number;
  /** Bytes of an image's table of tables or blocks: L1, BAT, block map, grain directory. */
  tables: number;
  /** Bytes of a VMDK's descriptor. */
  descriptor: number;
  /** Files that a VMDK's descriptor names. */
  extents: number;
  /** Images over one another, the top one included. */
  layers: number;
}

export const LIMITS: Limits = {
  // VHDX's own, and far beyond any real disk.
  virtualSize: 64 * TiB,
  // 64 TiB in VDI's blocks of 1 MiB; the L1 of 64 TiB in QCOW2's default clusters has 1 MiB.
  tables: 256 * MiB,
  // qemu's as well; real ones are below 1 KiB, those of many split extents below 300 KiB.
  descriptor: MiB,
  // A 64 TiB disk in files of 2 GiB has eight times more, and nobody splits those.
  extents: 4096,
  // qemu has none, and runs out of descriptors.
  layers: 64,
};

/**
 * Guest bytes that a conversion reads at most, where the caller sets no other limit: tables that name one cluster many
 * times make terabytes of a small file. Zeros compress a thousandfold, other data hardly tenfold.
 *
 * @param fileBytes of all files of the image.
 */
export function outputLimit(fileBytes: number): number {
  return 1000 * fileBytes + GiB;
}
