/** [MS-VHDX] §2.2.3: where the BAT and the metadata are, and that nothing overlaps. */
import { showNumber, VdconvError } from '../../base/errors.ts';
import { illegalValue, type Origin } from '../../base/struct.ts';
import { guidText } from '../../base/uuid.ts';
import type { ByteSource } from '../../io/types.ts';
import { checksumOf } from './crc32c.ts';
import type { CurrentHeader } from './headers.ts';
import {
  MAX_FILE_SIZE,
  REGION_TABLE_BYTES,
  REGION_TABLE_OFFSETS,
  RegionGuid,
  RegionTableEntry,
  RegionTableHeader,
  Signature,
} from './layout.ts';
import { Occupied } from './occupied.ts';

export interface Region {
  guid: string;
  fileOffset: number;
  length: number;
  /** File offset of its entry in the region table. */
  at: number;
}

export interface Regions {
  bat: Region;
  metadata: Region;
  /** Header section, log and all regions. */
  occupied: Occupied;
}

/** @param source after the replay of the log, which may hold region tables. */
export async function readRegions(source: ByteSource, header: CurrentHeader, warnings: string[]): Promise<Regions> {
  const { bytes, origin } = await readTable(source, warnings);
  const { entryCount } = RegionTableHeader.decode(bytes, origin);
  const found = new Map<string, Region>();
  const occupied = occupiedByLog(source, header);
  for (let i = 0; i < entryCount; i += 1) {
    const within = RegionTableHeader.size + i * RegionTableEntry.size;
    const at = origin.at + within;
    const entry = RegionTableEntry.decode(bytes, { ...origin, at }, within);
    const guid = guidText(entry.guid);
    const known = Object.values<string>(RegionGuid).includes(guid);
    const fault = (code: 'corrupt' | 'unsupported', field: 'guid' | 'fileOffset', value: string, says: string) => {
      const offset = at + RegionTableEntry.fields[field].offset;
      return illegalValue(code, RegionTableEntry.name, field, value, origin, offset, `${says}; [MS-VHDX] §2.2.3.2`);
    };
    if (!known && (entry.required & 1) !== 0) {
      throw fault('unsupported', 'guid', guid, 'a required region that vdconv does not know');
    }
    if (known && found.has(guid)) {
      throw fault('corrupt', 'guid', guid, 'there is another entry for this region');
    }
    if (!occupied.claim(entry.fileOffset, entry.length)) {
      throw fault(
        'corrupt',
        'fileOffset',
        showNumber(entry.fileOffset),
        'the region overlaps the log or another region',
      );
    }
    found.set(guid, { guid, fileOffset: entry.fileOffset, length: entry.length, at });
  }
  return { bat: take('bat', found, source, origin), metadata: take('metadata', found, source, origin), occupied };
}

async function readTable(source: ByteSource, warnings: string[]): Promise<{ bytes: Uint8Array; origin: Origin }> {
  for (const [i, at] of REGION_TABLE_OFFSETS.entries()) {
    const bytes = await source.read(at, REGION_TABLE_BYTES, 'VHDX region table');
    const { signature, checksum } = RegionTableHeader.peek(bytes);
    if (signature === Signature.regionTable && checksum === checksumOf(bytes)) {
      if (i > 0) {
        warnings.push('region table 1 is damaged: its copy is used');
      }
      return { bytes, origin: { file: source.name, format: 'vhdx', at } };
    }
  }
  const offsets = REGION_TABLE_OFFSETS.join(' and ');
  const what = `both region tables, at offsets ${offsets}, are damaged: signature or checksum is wrong`;
  throw new VdconvError('corrupt', `${what} ([MS-VHDX] §2.2.3)`, {
    file: source.name,
    format: 'vhdx',
    field: 'region table',
    offset: REGION_TABLE_OFFSETS[0],
  });
}

function occupiedByLog(source: ByteSource, { logOffset, logLength, origin }: CurrentHeader): Occupied {
  if (source.size > MAX_FILE_SIZE) {
    const what = `the file has ${source.size} bytes; vdconv reads VHDX files of at most ${MAX_FILE_SIZE}`;
    throw new VdconvError('limit', what, { ...origin, field: 'file size' });
  }
  if (logOffset + logLength > source.size) {
    throw beyondEnd('log', logOffset, logLength, source, origin);
  }
  const occupied = Occupied.inFile(source.size);
  occupied.claim(logOffset, logLength);
  return occupied;
}

function take(name: keyof typeof RegionGuid, found: Map<string, Region>, source: ByteSource, origin: Origin): Region {
  const region = found.get(RegionGuid[name]);
  if (region === undefined) {
    const what = `region table at offset ${showNumber(origin.at)}: no ${name} region; [MS-VHDX] §2.2.3.2`;
    throw new VdconvError('corrupt', what, { ...origin, field: `${name} region`, offset: origin.at });
  }
  if (region.fileOffset + region.length > source.size) {
    throw beyondEnd(`${name} region`, region.fileOffset, region.length, source, origin);
  }
  return region;
}

function beyondEnd(what: string, offset: number, length: number, source: ByteSource, origin: Origin): VdconvError {
  const message = `the ${what} lies at ${offset} to ${offset + length}, the file ends at ${source.size}`;
  return new VdconvError('truncated', message, { ...origin, field: what, offset });
}
