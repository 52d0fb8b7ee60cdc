/** What a VDI says of the disk besides its bytes. */
import { guidText, NIL_UUID } from '../../base/uuid.ts';
import type { ByteSource } from '../../io/types.ts';
import type { DiskMetadata, Geometry } from '../metadata.ts';
import { HEADER_SIZE_PLUS, Header, LchsGeometry } from './layout.ts';

export async function readMetadata(source: ByteSource, header: Header): Promise<DiskMetadata> {
  const geometry = (await readGeometry(source, header)) ?? legacyGeometry(header);
  const uuid = guidText(header.uuidImage);
  const comment = untilNul(header.comment);
  const creator = creatorOf(header);
  return {
    ...(geometry && { geometry }),
    ...(uuid !== NIL_UUID && { uuid }),
    ...(comment !== '' && { comment }),
    ...(creator !== '' && { creator }),
  };
}

/** `<<< Oracle VM VirtualBox Disk Image >>>` and the like. */
function creatorOf({ text }: Header): string {
  return untilNul(text)
    .trim()
    .replace(/^<<< *(.*?) *>>>$/s, '$1');
}

/** What VirtualBox told the guest's BIOS, where it was told to. */
async function readGeometry(source: ByteSource, { headerSize }: Header): Promise<Geometry | undefined> {
  if (headerSize < HEADER_SIZE_PLUS) {
    return undefined;
  }
  return unlessNone(LchsGeometry.peek(await source.read(Header.size, LchsGeometry.size, LchsGeometry.name)));
}

function legacyGeometry({ legacyCylinders, legacyHeads, legacySectors }: Header): Geometry | undefined {
  return unlessNone({ cylinders: legacyCylinders, heads: legacyHeads, sectors: legacySectors });
}

function unlessNone({ cylinders, heads, sectors }: Geometry): Geometry | undefined {
  return cylinders > 0 && heads > 0 && sectors > 0 ? { cylinders, heads, sectors } : undefined;
}

export function untilNul(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}
