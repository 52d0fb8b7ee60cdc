/** [MS-VHDX] §2.6.2.6: what a differencing disk that is written says of its parent. */
import { VdconvError } from '../../base/errors.ts';
import { guidBytes } from '../../base/uuid.ts';
import { windowsPath } from '../../base/windows-path.ts';
import type { BaseImage } from '../format.ts';
import { ParentLocatorEntry, ParentLocatorHeader, VHDX_LOCATOR_TYPE } from './layout.ts';
import { utf16Bytes } from './utf16.ts';

export interface NewParent {
  /** Its dataWriteGuid. */
  linkage: string;
  relativePath: string;
}

export function newParent({ name, format, lineage }: BaseImage): NewParent {
  if (format !== 'vhdx' || lineage?.own === undefined) {
    const what = `a VHDX layer lies over a VHDX image, and the base is ${format}`;
    throw new VdconvError('usage', what, { file: name, format: 'vhdx' });
  }
  return { linkage: lineage.own, relativePath: windowsPath(name) };
}

/** No path but the one that was asked for: volume_path and absolute_win32_path are of Windows machines. */
export function encodeParentLocator({ linkage, relativePath }: NewParent): Uint8Array {
  const pairs = [
    ['parent_linkage', `{${linkage}}`],
    ['relative_path', relativePath],
  ].map((pair) => pair.map(utf16Bytes) as [Uint8Array, Uint8Array]);
  const front = ParentLocatorHeader.size + pairs.length * ParentLocatorEntry.size;
  const bytes = new Uint8Array(pairs.flat().reduce((sum, text) => sum + text.length, front));
  const locatorType = guidBytes(VHDX_LOCATOR_TYPE);
  bytes.set(ParentLocatorHeader.encode({ locatorType, keyValueCount: pairs.length }));
  let at = front;
  for (const [i, [key, value]] of pairs.entries()) {
    const entry = ParentLocatorEntry.encode({
      keyOffset: at,
      valueOffset: at + key.length,
      keyLength: key.length,
      valueLength: value.length,
    });
    bytes.set(entry, ParentLocatorHeader.size + i * ParentLocatorEntry.size);
    bytes.set(key, at);
    bytes.set(value, at + key.length);
    at += key.length + value.length;
  }
  return bytes;
}
