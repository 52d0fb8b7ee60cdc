/** What a VMDK says of the disk besides its bytes: the disk database. VMDK 5.0 §The descriptor file: disk database. */
import type { DiskMetadata } from '../metadata.ts';
import { decodeComment } from './comment.ts';
import type { Descriptor } from './descriptor.ts';
import { diskId } from './disk-id.ts';

export function diskMetadata({ ddb }: Descriptor): DiskMetadata {
  const text = (key: string) => ddb.get(key) || undefined;
  const [cylinders, heads, sectors] = ['cylinders', 'heads', 'sectors'].map((key) => whole(ddb.get(`geometry.${key}`)));
  const comment = text('comment');
  const metadata = {
    adapterType: text('adaptertype'),
    hardwareVersion: text('virtualhwversion'),
    toolsVersion: text('toolsversion'),
    geometry: cylinders && heads && sectors ? { cylinders, heads, sectors } : undefined,
    uuid: diskId(ddb.get('uuid.image') ?? '') ?? diskId(ddb.get('uuid') ?? ''),
    comment: comment === undefined ? undefined : decodeComment(comment),
    logicalSectorSize: whole(ddb.get('logicalsectorsize')),
    physicalSectorSize: whole(ddb.get('physicalsectorsize')),
  };
  return Object.fromEntries(Object.entries(metadata).filter(([, value]) => value !== undefined));
}

/** A whole number above 0. */
function whole(text = ''): number | undefined {
  return /^\d{1,10}$/.test(text) && Number(text) > 0 ? Number(text) : undefined;
}
