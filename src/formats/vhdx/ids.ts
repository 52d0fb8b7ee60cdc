/** The GUIDs of an image that vdconv writes: same content and options, same GUIDs. Stored as Microsoft does. */
import { stableUuid } from '../../base/stable-id.ts';
import { guidBytes } from '../../base/uuid.ts';
import type { Content } from '../../map/layout.ts';
import type { WriteRequest } from '../format.ts';
import type { NewDisk } from './front.ts';

export interface Ids {
  fileWriteGuid: Uint8Array;
  dataWriteGuid: Uint8Array;
  /** What the guest's SCSI page 83 says; in a chain that of all layers. */
  virtualDiskId: Uint8Array;
}

/** Known when all data is. */
export type IdsOf = (content: Content | undefined) => Ids;

export function idsOf(disk: NewDisk, { options, randomId, base }: WriteRequest): IdsOf {
  const text = JSON.stringify(disk);
  const virtualDiskId = (options.uuid as string) || base?.metadata.uuid;
  return (content) => {
    const id = (name: keyof Ids) => stableUuid(7, name, randomId ?? content?.fingerprint, text);
    return {
      fileWriteGuid: id('fileWriteGuid'),
      dataWriteGuid: id('dataWriteGuid'),
      virtualDiskId: virtualDiskId === undefined ? id('virtualDiskId') : guidBytes(virtualDiskId),
    };
  };
}
