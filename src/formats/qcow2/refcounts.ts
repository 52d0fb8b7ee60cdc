/**
 * QCOW2 §Reference counts: how many things use each host cluster. A refcount block is written as soon as
 * nothing more can be placed in its range, so a few blocks are held at a time and not one number a cluster.
 */
import { VdconvError } from '../../base/errors.ts';
import { alignDown } from '../../base/units.ts';
import type { Piece } from '../../map/layout.ts';
import type { Geometry } from './geometry.ts';

export class Refcounts {
  readonly #clusterSize: number;
  readonly #bits: number;
  readonly #perBlock: number;
  /** Refcount blocks that may still change, by number; and where those lie that have a place. */
  readonly #open = new Map<number, DataView>();
  readonly #table: DataView;
  /** The block in whose range the last compressed cluster ended: the next one may share its host cluster. */
  #blobBlock = -1;

  constructor({ settings, clusterSize, refcountsPerBlock, refcountTableClusters }: Geometry) {
    this.#clusterSize = clusterSize;
    this.#bits = settings.refcountBits;
    this.#perBlock = refcountsPerBlock;
    this.#table = new DataView(new ArrayBuffer(refcountTableClusters * clusterSize));
  }

  /** One more use of `clusters` host clusters from `first` on. */
  count(first: number, clusters: number): void {
    for (let cluster = first; cluster < first + clusters; ) {
      const block = alignDown(cluster, this.#perBlock) / this.#perBlock;
      const refcounts = this.#block(block);
      const end = Math.min(first + clusters, (block + 1) * this.#perBlock);
      for (; cluster < end; cluster += 1) {
        increment(refcounts, cluster - block * this.#perBlock, this.#bits);
      }
    }
  }

  /** One more use of each host cluster that a compressed cluster touches. */
  countBlob(offset: number, stored: number): void {
    const cluster = (at: number) => alignDown(at, this.#clusterSize) / this.#clusterSize;
    const first = cluster(offset);
    const last = cluster(offset + stored - 1);
    this.count(first, last - first + 1);
    this.#blobBlock = alignDown(last, this.#perBlock) / this.#perBlock;
  }

  /**
   * Block `index` has its place. It got it because the frontier has reached its range, so the blocks before it are
   * complete, but for the one in which compressed clusters may still be added.
   */
  place(index: number, offset: number): Piece[] {
    const low = offset % 2 ** 32;
    this.#table.setUint32(index * 8, (offset - low) / 2 ** 32);
    this.#table.setUint32(index * 8 + 4, low);
    this.#block(index);
    this.count(offset / this.#clusterSize, 1);
    return this.#take((block) => block < index && block !== this.#blobBlock);
  }

  finish(): Piece[] {
    return this.#take(() => true);
  }

  /** The refcount table: offsets of the blocks, 0 for those that the image did not need. */
  table(): Uint8Array {
    return new Uint8Array(this.#table.buffer);
  }

  #block(index: number): DataView {
    let block = this.#open.get(index);
    if (block === undefined) {
      block = new DataView(new ArrayBuffer(this.#clusterSize));
      this.#open.set(index, block);
    }
    return block;
  }

  #take(complete: (block: number) => boolean): Piece[] {
    const pieces: Piece[] = [];
    for (const [index, refcounts] of this.#open) {
      const offset = this.#offset(index);
      if (complete(index)) {
        if (offset === 0) {
          throw new VdconvError('internal', `QCOW2 writer: refcount block ${index} was never given a place`);
        }
        this.#open.delete(index);
        pieces.push({ offset, bytes: new Uint8Array(refcounts.buffer) });
      }
    }
    return pieces;
  }

  #offset(index: number): number {
    return this.#table.getUint32(index * 8) * 2 ** 32 + this.#table.getUint32(index * 8 + 4);
  }
}

/**
 * Adds one to the refcount `index` of a block. Widths below a byte fill each byte from its least significant bit on, wider
 * ones are big-endian. The layout's `maxShare` keeps a refcount within its width, and below 2^32.
 */
function increment(block: DataView, index: number, bits: number): void {
  const at = (index * bits) / 8;
  switch (bits) {
    case 8:
      block.setUint8(at, block.getUint8(at) + 1);
      break;
    case 16:
      block.setUint16(at, block.getUint16(at) + 1);
      break;
    case 32:
    case 64: {
      const low = at + bits / 8 - 4;
      block.setUint32(low, block.getUint32(low) + 1);
      break;
    }
    default: {
      const byte = Math.floor(at);
      block.setUint8(byte, block.getUint8(byte) + (1 << ((index * bits) % 8)));
    }
  }
}
