/** What a differencing disk that is written says of its parent. VHD 1.0 §Dynamic Disk Header Format, §Parent Locator. */
import { VdconvError } from '../../base/errors.ts';
import { alignUp, SECTOR } from '../../base/units.ts';
import { uuidBytes } from '../../base/uuid.ts';
import { windowsPath } from '../../base/windows-path.ts';
import type { Piece } from '../../map/layout.ts';
import type { BaseImage } from '../format.ts';
import { LOCATOR_BYTES, LOCATORS, ParentLocator, Platform, UNICODE_NAME_BYTES } from './layout.ts';
import { toTimeStamp } from './metadata.ts';

export interface NewParent {
  uniqueId: Uint8Array;
  timeStamp: number;
  unicodeName: Uint8Array;
  locators: readonly { platformCode: number; bytes: Uint8Array }[];
}

/** @param time stands for now: nothing is younger. */
export function newParent(base: BaseImage, time: number | undefined): NewParent {
  const id = base.lineage?.own;
  if (base.format !== 'vhd' || id === undefined) {
    const what = `a VHD layer lies over a VHD image, and the base is ${base.format}`;
    throw new VdconvError('usage', what, { file: base.name, format: 'vhd' });
  }
  const unicodeName = new Uint8Array(UNICODE_NAME_BYTES);
  unicodeName.set(utf16(base.name.replace(/^.*\//s, ''), 'big').subarray(0, UNICODE_NAME_BYTES));
  return {
    uniqueId: uuidBytes(id),
    timeStamp: toTimeStamp(Math.min(base.changed, time ?? base.changed)),
    unicodeName,
    locators: locatorsOf(base.name),
  };
}

/**
 * A relative name as Windows knows it, and no other: an absolute one would tell of this machine. Where an absolute one was
 * asked for it leads nowhere in Windows, which takes its last part; the URL has all of it.
 */
function locatorsOf(name: string): NewParent['locators'] {
  const path = utf16(windowsPath(name), 'little');
  if (!name.startsWith('/')) {
    return [{ platformCode: Platform.W2ru, bytes: path }];
  }
  const url = `file://${name.split('/').map(encodeURIComponent).join('/')}`;
  return [
    { platformCode: Platform.MacX, bytes: new TextEncoder().encode(url) },
    { platformCode: Platform.W2ku, bytes: path },
  ];
}

function utf16(text: string, endian: 'little' | 'big'): Uint8Array {
  const view = new DataView(new ArrayBuffer(text.length * 2));
  for (let i = 0; i < text.length; i += 1) {
    view.setUint16(i * 2, text.charCodeAt(i), endian === 'little');
  }
  return new Uint8Array(view.buffer);
}

/** Each locator's data in sectors of its own. */
const spaceOf = (bytes: Uint8Array) => alignUp(bytes.length, SECTOR);

export function locatorBytes({ locators }: NewParent): number {
  return locators.reduce((sum, { bytes }) => sum + spaceOf(bytes), 0);
}

/** The header's table of locators, and their data from `at` on. */
export function placeLocators({ locators }: NewParent, at: number): { table: Uint8Array; pieces: Piece[] } {
  const table = new Uint8Array(LOCATORS * LOCATOR_BYTES);
  const pieces: Piece[] = [];
  let offset = at;
  for (const [i, { platformCode, bytes }] of locators.entries()) {
    const locator = ParentLocator.encode({
      platformCode,
      platformDataSpace: spaceOf(bytes),
      platformDataLength: bytes.length,
      platformDataOffset: offset,
    });
    table.set(locator, i * LOCATOR_BYTES);
    pieces.push({ offset, bytes });
    offset += spaceOf(bytes);
  }
  return { table, pieces };
}
