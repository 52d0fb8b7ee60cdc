/** The parent that a differencing disk names: in up to eight locators and in the header. VHD 1.0 §Parent Locator. */
import { showNumber, VdconvError } from '../../base/errors.ts';
import { illegalValue } from '../../base/struct.ts';
import { KiB } from '../../base/units.ts';
import type { ByteSource, Reference } from '../../io/types.ts';
import { DynamicHeader, ParentLocator, Platform } from './layout.ts';

/** vdconv's limit on the data of a locator: paths of Windows have at most 32767 characters. */
const MAX_LOCATOR_BYTES = 64 * KiB;

/** Names as the image has them, untrusted. */
export interface ParentNames {
  /** `parentUnicodeName` of the header. */
  name: string;
  locators: Partial<Record<keyof typeof Platform, string>>;
}

const ENCODINGS: Record<keyof typeof Platform, string> = { W2ru: 'utf-16le', W2ku: 'utf-16le', MacX: 'utf-8' };

export async function readParentNames(source: ByteSource, header: DynamicHeader, at: number): Promise<ParentNames> {
  const names: ParentNames = {
    name: untilNul(new TextDecoder('utf-16be').decode(header.parentUnicodeName)),
    locators: {},
  };
  const { parentLocators } = header;
  for (let i = 0; i < parentLocators.length; i += ParentLocator.size) {
    const locator = ParentLocator.peek(parentLocators, i);
    const platform = (Object.keys(Platform) as (keyof typeof Platform)[]).find(
      (key) => Platform[key] === locator.platformCode,
    );
    // The others are not documented, deprecated, or an alias that only Mac OS 9 could follow.
    if (platform !== undefined) {
      const origin = { file: source.name, format: 'vhd', at: at + DynamicHeader.fields.parentLocators.offset + i };
      const { platformDataOffset, platformDataLength } = ParentLocator.decode(parentLocators, origin, i);
      const illegal = (
        code: 'limit' | 'truncated',
        field: 'platformDataLength' | 'platformDataOffset',
        says: string,
      ) => {
        const value = showNumber(locator[field]);
        const offset = origin.at + ParentLocator.fields[field].offset;
        return illegalValue(code, ParentLocator.name, field, value, origin, offset, says);
      };
      if (platformDataLength > MAX_LOCATOR_BYTES) {
        throw illegal('limit', 'platformDataLength', `vdconv takes at most ${MAX_LOCATOR_BYTES}`);
      }
      if (platformDataOffset + platformDataLength > source.size) {
        throw illegal('truncated', 'platformDataOffset', `its ${platformDataLength} bytes pass the end of the file`);
      }
      const bytes = await source.read(platformDataOffset, platformDataLength, ParentLocator.name);
      names.locators[platform] = untilNul(new TextDecoder(ENCODINGS[platform]).decode(bytes));
    }
  }
  return names;
}

function untilNul(text: string): string {
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
}

/**
 * The one name to try: the relative path, a Mac's URL, else the file's name beside the child, since an absolute path of
 * Windows leads nowhere on another machine. The parent's `uniqueId` tells whether it is the right file.
 */
export function parentReference({ name, locators }: ParentNames, file: string): Reference {
  const found = fromWindows(locators.W2ru) ?? fromUrl(locators.MacX) ?? fileName(locators.W2ku) ?? fileName(name) ?? '';
  if (found === '') {
    throw new VdconvError('corrupt', 'a differencing disk that names no parent: no locator, no parentUnicodeName', {
      file,
      format: 'vhd',
      field: 'parentUnicodeName',
    });
  }
  return { kind: 'parent', name: found, format: 'vhd' };
}

/** `.\base.vhd`, `..\base\base.vhd`; across drives some programs put an absolute path here. */
function fromWindows(path = ''): string | undefined {
  const isAbsolute = /^([A-Za-z]:|[\\/])/.test(path);
  return isAbsolute ? fileName(path) : path.replaceAll('\\', '/').replace(/^(\.\/)+/, '') || undefined;
}

/** `file:///path` or `file://localhost/path`, percent-encoded. */
function fromUrl(url = ''): string | undefined {
  const path = /^file:\/\/(?:localhost)?(\/.+)$/i.exec(url)?.[1];
  try {
    return path === undefined ? undefined : decodeURIComponent(path);
  } catch {
    // Not percent-encoded at all.
    return path;
  }
}

function fileName(path = ''): string | undefined {
  return path.replace(/^.*[\\/]/s, '') || undefined;
}
