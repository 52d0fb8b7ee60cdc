/** QCOW2 §Bitmaps: the names and kinds of dirty bitmaps, for `info`. What they say of the disk is not read. */
import { VdconvError } from '../../base/errors.ts';
import { alignUp, MiB } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import type { Header } from './header.ts';
import { BITMAP_AUTO, bitmapEntry } from './layout.ts';

export interface Bitmap {
  name: string;
  /** Bytes of the disk that one bit stands for. */
  granularity: number;
  /** Whether it goes on recording when a virtual machine runs. */
  enabled: boolean;
}

/** Of the directory: some 20000 bitmaps. An image may have 65535 with names of 64 MiB, which are nothing to show. */
const PIECE = MiB;

/** The first bitmaps of the directory. Throws `corrupt` or `truncated`: a directory that lies keeps no disk from being read. */
export async function readBitmaps(source: ByteSource, header: Header): Promise<Bitmap[]> {
  const { bitmaps: extension } = header.extensions;
  if (extension === undefined) {
    return [];
  }
  const { nbBitmaps, bitmapDirectorySize: size, bitmapDirectoryOffset: offset } = extension;
  const { origin } = header;
  const truncated = (end: number) =>
    new VdconvError('truncated', `bitmap directory at offset ${offset} ends at ${end}, the file at ${source.size}`, {
      ...origin,
      field: 'bitmapDirectoryOffset',
      offset,
    });
  if (offset + size > source.size) {
    throw truncated(offset + size);
  }
  const directory = await source.read(offset, Math.min(PIECE, size), 'QCOW2 bitmap directory');
  const cut = size > PIECE;
  const list: Bitmap[] = [];
  for (let at = 0; list.length < nbBitmaps && !(cut && at + bitmapEntry.size > PIECE); ) {
    const entry = bitmapEntry.decode(directory, { ...origin, at: offset + at }, at);
    const name = at + bitmapEntry.size + entry.extraDataSize;
    if (name + entry.nameSize > directory.length) {
      if (cut) {
        break;
      }
      throw truncated(offset + name + entry.nameSize);
    }
    list.push({
      name: new TextDecoder().decode(directory.subarray(name, name + entry.nameSize)),
      granularity: 2 ** entry.granularityBits,
      enabled: (entry.flags & BITMAP_AUTO) !== 0,
    });
    at = alignUp(name + entry.nameSize, 8);
  }
  return list;
}
