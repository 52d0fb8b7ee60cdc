/**
 * What images say of a disk besides its bytes: one small neutral record. Readers fill it, `info` shows it, writers take
 * from it what their format has a place for and say so (`WritePlan.carried`); the rest is listed as dropped.
 */
export interface DiskMetadata {
  /** The controller that the disk was made for, in VMDK's words: `ide`, `lsilogic`, `buslogic`, `legacyESX`, … */
  adapterType?: string;
  /** VMware's virtual hardware version. */
  hardwareVersion?: string;
  /** VMware Tools' version number in the guest. */
  toolsVersion?: string;
  /** What the guest's BIOS was told; never the disk's size. */
  geometry?: Geometry;
  /** The disk's own id, in the usual text form: lower case, with hyphens. */
  uuid?: string;
  comment?: string;
  /** Bytes of the guest's sector; absent where the format knows only 512. */
  logicalSectorSize?: number;
  physicalSectorSize?: number;
  /** The program that made the image, as the image says it. */
  creator?: string;
  /** When the image was made or last changed, seconds since 1970. */
  time?: number;
}

export interface Geometry {
  cylinders: number;
  heads: number;
  /** Sectors a track. */
  sectors: number;
}

export type MetadataKey = keyof DiskMetadata;

/** How people call the members, for `info` and for what is dropped. */
export const METADATA_WORDS: Readonly<Record<MetadataKey, string>> = {
  adapterType: 'adapter type',
  hardwareVersion: 'hardware version',
  toolsVersion: 'tools version',
  geometry: 'geometry',
  uuid: 'disk id',
  comment: 'comment',
  logicalSectorSize: 'logical sector size',
  physicalSectorSize: 'physical sector size',
  creator: 'creator',
  time: 'time',
};

/** The members that `metadata` has and `carried` does not name, in the order of {@link METADATA_WORDS}. */
export function droppedMetadata(metadata: DiskMetadata, carried: readonly MetadataKey[]): MetadataKey[] {
  const keys = Object.keys(METADATA_WORDS) as MetadataKey[];
  return keys.filter((key) => metadata[key] !== undefined && !carried.includes(key));
}
