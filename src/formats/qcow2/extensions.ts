/** QCOW2 §Header extensions: what the area between the header and the backing file name holds. */
import { VdconvError } from '../../base/errors.ts';
import { illegalValue, type Origin, type StructValues } from '../../base/struct.ts';
import { alignUp } from '../../base/units.ts';
import { parseFeatureNames } from './features.ts';
import {
  bitmapsExtension,
  ExtensionType,
  encryptionExtension,
  headerExtension,
  MAX_BACKING_FORMAT,
  MAX_EXTENSIONS,
} from './layout.ts';

export interface Extensions {
  /** Untrusted, as {@link dataFile} is. */
  backingFormat?: string;
  dataFile?: string;
  featureNames: Map<string, string>;
  /** Only where the autoclear bit says that they are up to date. */
  bitmaps?: StructValues<typeof bitmapsExtension>;
  /** Where the LUKS header is. */
  encryption?: StructValues<typeof encryptionExtension>;
}

/**
 * @param area the first cluster, from the start of the file.
 * @param from where the header ends; `to` where the area ends: at the backing file name or with the cluster.
 * @param bitmapsValid autoclear bit 0: without it the bitmaps are stale and their extension says nothing.
 */
export function readExtensions(
  area: Uint8Array,
  from: number,
  to: number,
  origin: Origin,
  bitmapsValid: boolean,
): Extensions {
  const found: Extensions = { featureNames: new Map() };
  let at = from;
  for (let count = 0; at + headerExtension.size <= to; count += 1) {
    const { type, length } = headerExtension.decode(area, { ...origin, at }, at);
    const start = at + headerExtension.size;
    if (type === ExtensionType.end) {
      break;
    }
    if (count === MAX_EXTENSIONS) {
      const what = `more than ${MAX_EXTENSIONS} header extensions (the next at offset ${at})`;
      throw new VdconvError('limit', what, { ...origin, field: 'header extensions', offset: at });
    }
    const name = `QCOW2 header extension 0x${type.toString(16)}`;
    if (length > to - start) {
      const says = `${to - start} bytes are left for it; QCOW2 §Header extensions`;
      throw illegalValue('corrupt', name, 'length', `${length}`, origin, at + 4, says);
    }
    const data = area.subarray(start, start + length);
    const at1 = { ...origin, at: start };
    switch (type) {
      case ExtensionType.backingFormat:
        if (length > MAX_BACKING_FORMAT) {
          const says = `must be at most ${MAX_BACKING_FORMAT}, a qemu limit`;
          throw illegalValue('corrupt', 'QCOW2 backing format extension', 'length', `${length}`, origin, at + 4, says);
        }
        found.backingFormat = imageText(data, 'QCOW2 backing format name', at1);
        break;
      case ExtensionType.dataFile:
        found.dataFile = imageText(data, 'QCOW2 data file name', at1);
        break;
      case ExtensionType.featureNames:
        found.featureNames = parseFeatureNames(data);
        break;
      case ExtensionType.bitmaps:
        if (bitmapsValid) {
          if (length !== bitmapsExtension.size) {
            const says = `must be ${bitmapsExtension.size}; QCOW2 §Bitmaps extension`;
            throw illegalValue('corrupt', bitmapsExtension.name, 'length', `${length}`, origin, at + 4, says);
          }
          found.bitmaps = bitmapsExtension.decode(data, at1);
        }
        break;
      case ExtensionType.encryption:
        if (length !== encryptionExtension.size) {
          const says = `must be ${encryptionExtension.size}; QCOW2 §Encryption`;
          throw illegalValue('corrupt', encryptionExtension.name, 'length', `${length}`, origin, at + 4, says);
        }
        found.encryption = encryptionExtension.decode(data, at1);
        break;
      default:
      // Unknown extensions are optional by definition.
    }
    at = start + alignUp(length, 8);
  }
  return found;
}

/**
 * A name that the image says. Bytes that are not UTF-8 become U+FFFD, so they name nothing that could be opened; a NUL
 * is refused, because tools in C would open what precedes it.
 */
export function imageText(data: Uint8Array, table: string, origin: Origin): string {
  const nul = data.indexOf(0);
  if (nul >= 0) {
    const says = 'names have no NUL; QCOW2 §Header';
    throw illegalValue('corrupt', table, `byte ${nul}`, '0', origin, origin.at + nul, says);
  }
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(data);
}
