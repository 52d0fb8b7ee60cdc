/** [MS-VHDX] §2.2: the file type identifier, and the one of the two headers that counts. */
import { VdconvError } from '../../base/errors.ts';
import { illegalValue, type Origin, type StructValues } from '../../base/struct.ts';
import { guidText, NIL_UUID } from '../../base/uuid.ts';
import type { ByteSource } from '../../io/types.ts';
import { checksumOf } from './crc32c.ts';
import { FileTypeIdentifier, HEADER_OFFSETS, Header, Signature } from './layout.ts';
import { utf16 } from './utf16.ts';

export interface CurrentHeader extends StructValues<typeof Header> {
  origin: Origin;
}

/** @returns who made the file, as it says. */
export async function readCreator(source: ByteSource): Promise<string> {
  const bytes = await source.read(0, FileTypeIdentifier.size, 'VHDX file type identifier');
  const { creator } = FileTypeIdentifier.decode(bytes, { file: source.name, format: 'vhdx', at: 0 });
  return utf16(creator).replace(/\0.*/s, '');
}

/** The valid header with the higher sequence number. A damaged one is survivable and said in `warnings`. */
export async function readHeader(source: ByteSource, warnings: string[]): Promise<CurrentHeader> {
  const copies = await Promise.all(HEADER_OFFSETS.map((at) => source.read(at, Header.size, 'VHDX header')));
  const valid = copies.map(isValid);
  const [first, second] = copies.map((bytes) => Header.peek(bytes).sequenceNumber) as [bigint, bigint];
  const file = { file: source.name, format: 'vhdx' };
  if (!valid.includes(true)) {
    const what = `both headers, at offsets ${HEADER_OFFSETS.join(' and ')}, are damaged: signature or checksum is wrong`;
    throw new VdconvError('corrupt', `${what} ([MS-VHDX] §2.2.2)`, {
      ...file,
      field: 'header',
      offset: HEADER_OFFSETS[0],
    });
  }
  if (!valid.includes(false) && first === second && differ(...(copies as [Uint8Array, Uint8Array]))) {
    const says = 'the other header differs and has the same; [MS-VHDX] §2.2.2';
    throw illegalValue('corrupt', Header.name, 'sequenceNumber', `${second}`, file, HEADER_OFFSETS[1] + 8, says);
  }
  const current = valid[1] === true && (valid[0] !== true || second > first) ? 1 : 0;
  if (valid.includes(false)) {
    warnings.push(`header ${2 - current} is damaged: header ${current + 1} is used`);
  }
  const origin = { ...file, at: HEADER_OFFSETS[current] };
  const header = Header.decode(copies[current] as Uint8Array, origin);
  if (header.logVersion !== 0 && guidText(header.logGuid) !== NIL_UUID) {
    const says = 'must be 0 where there is a log to replay; [MS-VHDX] §2.2.2';
    throw illegalValue('unsupported', Header.name, 'logVersion', `${header.logVersion}`, file, origin.at + 64, says);
  }
  return { ...header, origin };
}

function isValid(bytes: Uint8Array): boolean {
  const { signature, checksum } = Header.peek(bytes);
  return signature === Signature.header && checksum === checksumOf(bytes);
}

function differ(a: Uint8Array, b: Uint8Array): boolean {
  return a.some((byte, i) => byte !== b[i]);
}
