/** What `info` says about a VHD. */
import type { Reference } from '../../io/types.ts';
import type { ImageFacts } from '../format.ts';
import type { DynamicDisk } from './header.ts';
import { DiskType, type Footer } from './layout.ts';
import type { ParentNames } from './parent.ts';

export interface Facts {
  footer: Footer;
  /** Absent: a fixed disk. */
  disk?: DynamicDisk | undefined;
  names?: ParentNames | undefined;
  parent?: Reference | undefined;
  warnings: readonly string[];
}

export function imageFacts({ footer, disk, names, parent, warnings }: Facts): ImageFacts {
  const saved =
    'a virtual machine is in saved state over this disk: what its guest holds in memory is not in the image';
  return {
    blockSize: disk?.header.blockSize ?? 0,
    references: parent === undefined ? [] : [parent],
    snapshots: [],
    encrypted: false,
    compressed: false,
    dirty: false,
    warnings: footer.savedState === 0 ? warnings : [...warnings, saved],
    details: {
      creatorApplication: text(footer.creatorApplication),
      creatorVersion: `${footer.creatorVersion >>> 16}.${footer.creatorVersion & 0xffff}`,
      creatorHostOS: text(footer.creatorHostOS),
      timeStamp: footer.timeStamp,
      originalSize: Number(footer.originalSize),
      currentSize: footer.currentSize,
      geometry: { cylinders: footer.cylinders, heads: footer.heads, sectorsPerTrack: footer.sectorsPerTrack },
      uniqueId: uuid(footer.uniqueId),
      savedState: footer.savedState !== 0,
      temporary: (footer.features & 1) !== 0,
      ...(disk && { maxTableEntries: disk.header.maxTableEntries }),
      ...(disk && names && parentDetails(disk, names)),
    },
  };
}

/** `parentUniqueId` must be the parent's `uniqueId`; Windows does not check the time. */
function parentDetails({ header }: DynamicDisk, { name, locators }: ParentNames): Record<string, unknown> {
  return {
    parentUniqueId: uuid(header.parentUniqueId),
    parentTimeStamp: header.parentTimeStamp,
    parentUnicodeName: name,
    parentLocators: locators,
  };
}

export function subformatOf({ diskType }: Footer): string {
  const names: Record<number, string> = {
    [DiskType.fixed]: 'fixed',
    [DiskType.dynamic]: 'dynamic',
    [DiskType.differencing]: 'differencing',
  };
  return names[diskType] as string;
}

/** Four characters, where NUL and spaces are padding. */
export function text(bytes: Uint8Array): string {
  return new TextDecoder('latin1').decode(bytes).replace(/[\0 ]+$/, '');
}

/** The bytes in their order. */
export function uuid(bytes: Uint8Array): string {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
