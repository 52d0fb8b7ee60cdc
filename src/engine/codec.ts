/** Stored forms of one block: a deflate or zlib stream, with VMDK's grain marker where the format has one; a zstd frame. */
import { VdconvError } from '../base/errors.ts';
import { MiB, SECTOR } from '../base/units.ts';
import type { SourceCodec } from '../map/data-file.ts';
import type { TargetCodec } from '../map/layout.ts';
import { type BlockCodec, Decoded, MAX_INPUT } from './block-codec.ts';

/** VMDK §Stream-optimized: u64 LE sector of the grain, u32 LE bytes of the stream that follows. */
const GRAIN_MARKER = 12;

/**
 * Decodes the unit at guest offset `start` into `out` and returns how many bytes it had. `input` may go on behind the
 * stream: formats give only a bound of the stored length.
 *
 * @param corrupt makes the error.
 */
export function decodeUnit(
  codecs: BlockCodec,
  codec: SourceCodec,
  start: number,
  input: Uint8Array,
  out: Uint8Array,
  corrupt: (what: string) => VdconvError,
): number {
  const stream = codec.framing === 'none' ? input : grainStream(start, input, corrupt);
  if (codec.name === 'zstd') {
    return unzstd(codecs, stream, out, corrupt);
  }
  const raw = codec.name === 'deflate';
  const status = codecs.inflate(raw, 15, stream.subarray(0, MAX_INPUT), out);
  if (status === Decoded.end) {
    return codecs.produced;
  }
  if (status === Decoded.outputFull && raw) {
    // QCOW2 lets a stream go on behind its cluster: what fits counts (qemu reads it so).
    return codecs.produced;
  }
  // A zlib stream that decodes to more has at least its checksum left.
  if (status === Decoded.outputFull && codecs.consumed < stream.length) {
    throw corrupt(`the zlib stream decodes to more than ${out.length} bytes`);
  }
  if (status > 0 || status === Decoded.badData) {
    throw corrupt('the compressed data does not decode');
  }
  throw new VdconvError('internal', `inflate: status ${status}`);
}

/** One frame or several; what is behind them is not the unit's. */
function unzstd(
  codecs: BlockCodec,
  input: Uint8Array,
  out: Uint8Array,
  corrupt: (what: string) => VdconvError,
): number {
  const status = codecs.unzstd(input.subarray(0, MAX_INPUT), out);
  switch (status) {
    case Decoded.outputFull:
    case Decoded.inputEnd:
      if (codecs.produced === 0) {
        throw corrupt('the zstd frame does not decode (it is cut off)');
      }
      return codecs.produced;
    case Decoded.badData:
      throw corrupt('the zstd frame does not decode');
    case Decoded.badSum:
      throw corrupt('the zstd frame does not decode (its checksum is wrong)');
    case Decoded.unsupported:
      throw corrupt('the zstd frame does not decode (it needs a dictionary)');
    case Decoded.tooLarge:
      throw corrupt(`the zstd frame asks for a window of more than ${128 * MiB} bytes`);
    default:
      throw new VdconvError('internal', `unzstd: status ${status}`);
  }
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
export function encodeBlock(
  codecs: BlockCodec,
  codec: TargetCodec,
  start: number,
  block: Uint8Array,
  out: Uint8Array,
): number {
  const { level, incompressible } = codec;
  const framing = framingBytes(codec);
  let length = encode(codecs, codec, level, block, out.subarray(framing, framing + block.length - 1));
  if (length === 0 && incompressible === 'plain') {
    return 0;
  }
  if (length === 0) {
    // Not as it is: the fastest levels let a block grow by an eighth, and readers have buffers for a few bytes more.
    length = encode(codecs, codec, 0, block, out.subarray(framing, framing + storedBound(block.length)));
  }
  if (framing > 0) {
    const marker = new DataView(out.buffer, out.byteOffset, GRAIN_MARKER);
    marker.setBigUint64(0, BigInt(start / SECTOR), true);
    marker.setUint32(8, length, true);
  }
  return framing + length;
}

function encode(codecs: BlockCodec, codec: TargetCodec, level: number, block: Uint8Array, room: Uint8Array): number {
  const { name, windowBits } = codec;
  const length =
    name === 'zstd' ? codecs.zstd(block, room) : codecs.deflate(name === 'deflate', windowBits, level, block, room);
  if (length < 0 || (length === 0 && level === 0)) {
    throw new VdconvError('internal', `${name}: status ${length} (level ${level}, window ${windowBits})`);
  }
  return length;
}

function framingBytes({ framing }: TargetCodec): number {
  return framing === 'grain-marker' ? GRAIN_MARKER : 0;
}

/** Room for a stream of stored blocks, which is deflate at level 0 (a frame of raw blocks takes less). */
function storedBound(blockSize: number): number {
  return blockSize + Math.ceil(blockSize / 64) + 64;
}
