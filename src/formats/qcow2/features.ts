/** Feature bits: which there are, what an image's bits mean for reading it, and the table that names them. */
import { type ErrorDetails, escapeText, VdconvError } from '../../base/errors.ts';
import { illegalValue } from '../../base/struct.ts';
import type { Header } from './header.ts';
import { CompressionType, featureName, headerV3 } from './layout.ts';

/** QCOW2 §Feature name table: the field that a bit belongs to. */
export const FeatureType = { incompatible: 0, compatible: 1, autoclear: 2 } as const;

export const Incompatible = { dirty: 0, corrupt: 1, externalDataFile: 2, compressionType: 3, extendedL2: 4 } as const;
export const Compatible = { lazyRefcounts: 0 } as const;
export const Autoclear = { bitmaps: 0, rawExternalData: 1 } as const;

interface Feature {
  type: number;
  bit: number;
  name: string;
}

/** Every bit that the specification defines, under the names that QEMU writes. */
export const FEATURES: readonly Feature[] = [
  { type: FeatureType.incompatible, bit: Incompatible.dirty, name: 'dirty bit' },
  { type: FeatureType.incompatible, bit: Incompatible.corrupt, name: 'corrupt bit' },
  { type: FeatureType.incompatible, bit: Incompatible.externalDataFile, name: 'external data file' },
  { type: FeatureType.incompatible, bit: Incompatible.compressionType, name: 'compression type' },
  { type: FeatureType.incompatible, bit: Incompatible.extendedL2, name: 'extended L2 entries' },
  { type: FeatureType.compatible, bit: Compatible.lazyRefcounts, name: 'lazy refcounts' },
  { type: FeatureType.autoclear, bit: Autoclear.bitmaps, name: 'bitmaps' },
  { type: FeatureType.autoclear, bit: Autoclear.rawExternalData, name: 'raw external data' },
];

export function has(features: bigint, bit: number): boolean {
  return ((features >> BigInt(bit)) & 1n) === 1n;
}

/** Key of {@link parseFeatureNames}' map. */
const key = (type: number, bit: number) => `${type}:${bit}`;

/** QCOW2 §Feature name table. What follows the last whole entry is ignored. */
export function parseFeatureNames(data: Uint8Array): Map<string, string> {
  const names = new Map<string, string>();
  for (let at = 0; at + featureName.size <= data.length; at += featureName.size) {
    const { type, bit, name } = featureName.peek(data, at);
    const end = name.indexOf(0);
    names.set(key(type, bit), new TextDecoder().decode(end < 0 ? name : name.subarray(0, end)));
  }
  return names;
}

export function encodeFeatureNames(): Uint8Array {
  const table = new Uint8Array(FEATURES.length * featureName.size);
  FEATURES.forEach(({ type, bit, name }, i) => {
    const padded = new Uint8Array(featureName.fields.name.size);
    padded.set(new TextEncoder().encode(name));
    table.set(featureName.encode({ type, bit, name: padded }), i * featureName.size);
  });
  return table;
}

/** QCOW2 §Header: an image with an unknown incompatible feature must not be opened. */
export function checkIncompatible(header: Header): void {
  const unknown: string[] = [];
  for (let bit = 0; bit < 64; bit += 1) {
    if (has(header.incompatibleFeatures, bit) && bit > Incompatible.extendedL2) {
      const name = header.extensions.featureNames.get(key(FeatureType.incompatible, bit));
      unknown.push(name === undefined ? `bit ${bit}` : `bit ${bit} "${escapeText(name)}"`);
    }
  }
  if (unknown.length > 0) {
    throw illegalValue(
      'unsupported',
      headerV3.name,
      'incompatibleFeatures',
      `0x${header.incompatibleFeatures.toString(16)}`,
      header.origin,
      headerV3.fields.incompatibleFeatures.offset,
      `unknown feature ${unknown.join(', ')}: such an image must not be read`,
    );
  }
}

/**
 * QCOW2 §Header: bit 3 is set if and only if the compression type is not deflate.
 * A raw data file has no backing file: it alone is the disk.
 */
export function checkConsistency(header: Header): void {
  const type = header.compressionType;
  const fault = (
    code: 'corrupt' | 'unsupported',
    field: string,
    value: number | string,
    offset: number,
    says: string,
  ) => illegalValue(code, headerV3.name, field, `${value}`, header.origin, offset, `${says}; QCOW2 §Header`);
  if (has(header.incompatibleFeatures, Incompatible.compressionType) !== (type !== CompressionType.deflate)) {
    const says = 'must be 0, deflate, exactly where incompatible feature bit 3 is clear';
    throw fault('corrupt', 'compressionType', type, headerV3.size, says);
  }
  if (type > CompressionType.zstd) {
    throw fault('unsupported', 'compressionType', type, headerV3.size, 'must be 0, deflate, or 1, zstd');
  }
  // Without a data file the bit says nothing, as with any autoclear bit of a feature that is not there.
  if (isRawExternal(header) && header.backingFile !== undefined) {
    const value = `0x${header.autoclearFeatures.toString(16)}`;
    const says = 'bit 1, raw external data, allows no backing file';
    throw fault('corrupt', 'autoclearFeatures', value, headerV3.fields.autoclearFeatures.offset, says);
  }
}

/** QCOW2 §Header: the data file alone is the disk, as a raw image. */
export function isRawExternal({ incompatibleFeatures, autoclearFeatures }: Header): boolean {
  return has(incompatibleFeatures, Incompatible.externalDataFile) && has(autoclearFeatures, Autoclear.rawExternalData);
}

/**
 * Why the guest's bytes cannot be had although the metadata is legal, or undefined. Opening succeeds all the same, so
 * that `info` can say what the image is; reading its block map throws this.
 *
 * @param salvage read what a writer once found to be inconsistent.
 */
export function obstacle(header: Header, salvage = false): VdconvError | undefined {
  const fail = (
    code: 'corrupt' | 'unsupported' | 'limit',
    what: string,
    field: keyof typeof headerV3.fields,
    hint?: string,
  ) => {
    const details: ErrorDetails = { ...header.origin, field, offset: headerV3.fields[field].offset, hint };
    return new VdconvError(code, `${what} (${field} at offset ${details.offset})`, details);
  };
  if (has(header.incompatibleFeatures, Incompatible.corrupt) && !salvage) {
    const hint = 'repair a copy with qemu-img check -r all and convert that, or take what there is with --salvage';
    return fail('corrupt', 'the image is marked as corrupt: incompatible feature bit 1', 'incompatibleFeatures', hint);
  }
  if (header.cryptMethod !== 0) {
    const method = encryption(header);
    return fail('unsupported', `encrypted, ${method}: not supported`, 'cryptMethod', 'decrypt it with qemu-img first');
  }
  return undefined;
}

/** QCOW2 §Header: names of the encryption methods. */
export function encryption(header: Header): string | undefined {
  return [undefined, 'AES', 'LUKS'][header.cryptMethod];
}
