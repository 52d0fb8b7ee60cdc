/**
 * The library: exactly what users may import.
 *
 *     import { convert, open } from 'vdconv';
 *     await convert('in.vmdk', 'out.qcow2', { compress: true });
 *     const image = await open('out.qcow2');
 *     const firstSector = await image.read(0, 512);
 */
import { loadEngine } from './engine/engine.ts';

export { type ErrorCode, escapeText, VdconvError } from './base/errors.ts';
export { LIMITS, type Limits } from './base/limits.ts';
export { formatSize, parseSize } from './base/units.ts';
export { version } from './base/version.ts';
export type { CheckedImage, Finding } from './formats/check.ts';
export { type DiskMetadata, type Geometry, METADATA_WORDS } from './formats/metadata.ts';
export { check } from './ops/check.ts';
export { compare } from './ops/compare.ts';
export { convert } from './ops/convert.ts';
export { create } from './ops/create.ts';
export { digest } from './ops/digest.ts';
export { formats } from './ops/formats.ts';
export { info } from './ops/info.ts';
export { map } from './ops/map.ts';
export { measure } from './ops/measure.ts';
export { open } from './ops/open.ts';
export { convertStream } from './ops/stream-out.ts';
export type {
  CheckOptions,
  CheckResult,
  ComparedImage,
  CompareOptions,
  CompareResult,
  ConvertOptions,
  ConvertResult,
  CreateOptions,
  Descriptor,
  DigestOptions,
  DigestResult,
  DiskImage,
  FormatSummary,
  ImageInfo,
  ImageSource,
  MapEntry,
  Measurement,
  MeasureOptions,
  OpenOptions,
  Progress,
  RangeOptions,
  SalvagedRange,
  TargetOptions,
} from './ops/types.ts';

/** Which engine moves the bytes on this machine, and why that one. Throws `unsupported` where there is none. */
export async function engineName(): Promise<{ name: 'native' | 'portable'; why: string }> {
  const { engine, why } = loadEngine();
  return { name: engine.name, why };
}
