/** The GUIDs of an image that vdconv writes: same disk and options, same GUIDs. Stored as Microsoft does. */
import { stableUuid } from '../../base/stable-id.ts';
import type { NewDisk } from './front.ts';

export interface Ids {
  fileWriteGuid: Uint8Array;
  dataWriteGuid: Uint8Array;
  /** What the guest's SCSI page 83 says. */
  virtualDiskId: Uint8Array;
}

export function idsOf(disk: NewDisk): Ids {
  const text = JSON.stringify(disk);
  return {
    fileWriteGuid: stableUuid(7, 'fileWriteGuid', text),
    dataWriteGuid: stableUuid(7, 'dataWriteGuid', text),
    virtualDiskId: stableUuid(7, 'virtualDiskId', text),
  };
}
