/** Stored forms of one block: a deflate or zlib stream, with VMDK's grain marker before it where the format has one. */
import { VdconvError } from '../base/errors.ts';
import { SECTOR } from '../base/units.ts';
import type { SourceCodec } from '../map/data-file.ts';
import type { TargetCodec } from '../map/layout.ts';
import { Inflated, MAX_INPUT, type Zlib } from './zlib.ts';

/** VMDK §Stream-optimized: u64 LE sector of the grain, u32 LE bytes of the stream that follows. */
const GRAIN_MARKER = 12;

/**
 * Decodes the unit at guest offset `start` into `out` and returns how many bytes it had. `input` may go on behind the
 * stream: formats give only a bound of the stored length.
 *
 * @param corrupt makes the error.
 */
export function decodeUnit(
  zlib: Zlib,
  codec: SourceCodec,
  start: number,
  input: Uint8Array,
  out: Uint8Array,
  corrupt: (what: string) => VdconvError,
): number {
  const stream = codec.framing === 'none' ? input : grainStream(start, input, corrupt);
  refuseZstd(codec.name);
  const raw = codec.name === 'deflate';
  const status = zlib.inflate(raw, 15, stream.subarray(0, MAX_INPUT), out);
  if (status === Inflated.end) {
    return zlib.produced;
  }
  if (status === Inflated.outputFull && raw) {
    // QCOW2 lets a stream go on behind its cluster: what fits counts (qemu reads it so).
    return zlib.produced;
  }
  // A zlib stream that decodes to more has at least its checksum left.
  if (status === Inflated.outputFull && zlib.consumed < stream.length) {
    throw corrupt(`the zlib stream decodes to more than ${out.length} bytes`);
  }
  if (status > 0 || status === Inflated.badData) {
    throw corrupt('the compressed data does not decode');
  }
  throw new VdconvError('internal', `inflate: status ${status}`);
}

function grainStream(start: number, input: Uint8Array, corrupt: (what: string) => VdconvError): Uint8Array {
  if (input.length < GRAIN_MARKER) {
    throw corrupt('the grain marker is cut off');
  }
  const marker = new DataView(input.buffer, input.byteOffset, GRAIN_MARKER);
  const lba = marker.getBigUint64(0, true);
  if (lba * BigInt(SECTOR) !== BigInt(start)) {
    throw corrupt(`the grain marker says sector ${lba}, the grain table ${start / SECTOR}`);
  }
  const size = marker.getUint32(8, true);
  if (size === 0 || size > input.length - GRAIN_MARKER) {
    throw corrupt(`the grain marker says ${size} bytes, ${input.length - GRAIN_MARKER} are there`);
  }
  return input.subarray(GRAIN_MARKER, GRAIN_MARKER + size);
}

/** The most bytes that {@link encodeBlock} writes for a block of `blockSize`. */
export function encodedBound(codec: TargetCodec, blockSize: number): number {
  return framingBytes(codec) + storedBound(blockSize);
}

/**
 * Writes `block`, which begins at guest byte `start`, at the beginning of `out` in its stored form, framing included,
 * and returns that form's length; 0 where it should be stored plain.
 */
export function encodeBlock(zlib: Zlib, codec: TargetCodec, start: number, block: Uint8Array, out: Uint8Array): number {
  const { level, incompressible } = codec;
  refuseZstd(codec.name);
  const framing = framingBytes(codec);
  let length = deflate(zlib, codec, level, block, out.subarray(framing, framing + block.length - 1));
  if (length === 0 && incompressible === 'plain') {
    return 0;
  }
  if (length === 0) {
    // Not as it is: the fastest levels let a block grow by an eighth, and readers have buffers for a few bytes more.
    length = deflate(zlib, codec, 0, block, out.subarray(framing, framing + storedBound(block.length)));
  }
  if (framing > 0) {
    const marker = new DataView(out.buffer, out.byteOffset, GRAIN_MARKER);
    marker.setBigUint64(0, BigInt(start / SECTOR), true);
    marker.setUint32(8, length, true);
  }
  return framing + length;
}

function deflate(zlib: Zlib, codec: TargetCodec, level: number, block: Uint8Array, room: Uint8Array): number {
  const length = zlib.deflate(codec.name === 'deflate', codec.windowBits, level, block, room);
  if (length < 0 || (length === 0 && level === 0)) {
    throw new VdconvError('internal', `deflate: status ${length} (level ${level}, window ${codec.windowBits})`);
  }
  return length;
}

function refuseZstd(name: TargetCodec['name']): void {
  if (name === 'zstd') {
    throw new VdconvError('unsupported', 'zstd needs the native engine');
  }
}

function framingBytes({ framing }: TargetCodec): number {
  return framing === 'grain-marker' ? GRAIN_MARKER : 0;
}

/** Room for a stream of stored blocks, which is deflate at level 0. */
function storedBound(blockSize: number): number {
  return blockSize + Math.ceil(blockSize / 64) + 64;
}
