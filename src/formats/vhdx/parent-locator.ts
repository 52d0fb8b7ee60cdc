/** [MS-VHDX] §2.6.2.6: what a differencing disk says about its parent. */
import { escapeText } from '../../base/errors.ts';
import { illegalValue, type Origin } from '../../base/struct.ts';
import { guidText, NIL_UUID } from '../../base/uuid.ts';
import { ParentLocatorEntry, ParentLocatorHeader, VHDX_LOCATOR_TYPE } from './layout.ts';
import { utf16 } from './utf16.ts';

export interface ParentLocator {
  /** All keys and values, as the image says them: untrusted. */
  entries: Readonly<Record<string, string>>;
  /** What the parent's dataWriteGuid must be: this, or the second one, which a merge leaves. Lower case, no braces. */
  parentLinkage: string;
  parentLinkage2: string | undefined;
  /** The parent's name as a path of this system, relative to the child's directory. */
  name: string;
}

/** The order in which the specification has the paths tried. */
const PATH_KEYS = ['relative_path', 'volume_path', 'absolute_win32_path'] as const;

export function parseParentLocator(bytes: Uint8Array, origin: Origin): ParentLocator {
  const { locatorType, keyValueCount } = ParentLocatorHeader.decode(bytes, origin);
  const fault = (code: 'corrupt' | 'unsupported', field: string, value: string, offset: number, says: string) =>
    illegalValue(code, ParentLocatorHeader.name, field, value, origin, offset, `${says}; [MS-VHDX] §2.6.2.6`);
  if (guidText(locatorType) !== VHDX_LOCATOR_TYPE) {
    const says = `must be ${VHDX_LOCATOR_TYPE}, a parent of format VHDX`;
    throw fault('unsupported', 'locatorType', guidText(locatorType), origin.at, says);
  }
  const entries = new Map<string, string>();
  for (let i = 0; i < keyValueCount; i += 1) {
    const within = ParentLocatorHeader.size + i * ParentLocatorEntry.size;
    const at = origin.at + within;
    const entry = ParentLocatorEntry.decode(bytes, { ...origin, at }, within);
    const text = (offset: number, length: number, field: 'keyOffset' | 'valueOffset') => {
      if (offset + length > bytes.length) {
        const says = `${length} bytes there pass the item's ${bytes.length}`;
        throw fault('corrupt', field, `${offset}`, at + ParentLocatorEntry.fields[field].offset, says);
      }
      const found = utf16(bytes.subarray(offset, offset + length));
      if (found.includes('\0')) {
        throw fault('corrupt', field, `${offset}`, origin.at + offset, 'the text there has a NUL');
      }
      return found;
    };
    const key = text(entry.keyOffset, entry.keyLength, 'keyOffset');
    if (entries.has(key)) {
      throw fault('corrupt', 'key', `'${escapeText(key)}'`, origin.at + entry.keyOffset, 'keys are unique');
    }
    entries.set(key, text(entry.valueOffset, entry.valueLength, 'valueOffset'));
  }
  const linkage = (key: string) => {
    const value = entries.get(key)?.toLowerCase();
    const guid = /^\{([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}$/.exec(value ?? '')?.[1];
    if (value !== undefined && guid === undefined) {
      throw fault('corrupt', key, `'${escapeText(value)}'`, origin.at, 'must be a GUID in braces');
    }
    return guid;
  };
  const parentLinkage = linkage('parent_linkage');
  const name = parentName(entries);
  if (parentLinkage === undefined || name === undefined) {
    const missing = parentLinkage === undefined ? 'parent_linkage' : PATH_KEYS.join(', ');
    throw fault(
      'corrupt',
      'keys',
      [...entries.keys()].map(escapeText).join(', ') || 'none',
      origin.at,
      `needs ${missing}`,
    );
  }
  const parentLinkage2 = linkage('parent_linkage2');
  return {
    entries: Object.fromEntries(entries),
    parentLinkage,
    // Hyper-V writes zeros where there was no merge.
    parentLinkage2: parentLinkage2 === NIL_UUID ? undefined : parentLinkage2,
    name,
  };
}

/**
 * Windows paths mean nothing here but for the relative one, and that only with this system's separators. Of the others
 * the last part is left: the parent beside its child.
 */
function parentName(entries: ReadonlyMap<string, string>): string | undefined {
  const [relative, ...absolute] = PATH_KEYS.map((key) => entries.get(key));
  const path = relative ?? absolute.find((value) => value !== undefined)?.replace(/^.*[\\/]/s, '');
  return path?.replaceAll('\\', '/');
}
