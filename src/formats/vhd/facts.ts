/** What `info` says about a VHD. */
import { uuidText } from '../../base/uuid.ts';
import type { Reference } from '../../io/types.ts';
import type { ImageFacts } from '../format.ts';
import type { DynamicDisk } from './header.ts';
import { DiskType, type Footer } from './layout.ts';
import { creatorVersion, text } from './metadata.ts';
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
      creatorVersion: creatorVersion(footer),
      creatorHostOS: text(footer.creatorHostOS),
      timeStamp: footer.timeStamp,
      originalSize: Number(footer.originalSize),
      currentSize: footer.currentSize,
      geometry: { cylinders: footer.cylinders, heads: footer.heads, sectorsPerTrack: footer.sectorsPerTrack },
      uniqueId: uuidText(footer.uniqueId),
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
    parentUniqueId: uuidText(header.parentUniqueId),
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
