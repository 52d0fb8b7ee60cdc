/** Says what a LUKS volume is. It is not decrypted: its block map is an error that names the method. */
import { escapeText, VdconvError } from '../../base/errors.ts';
import { sectorsToBytes } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import type { Image } from '../format.ts';
import { COMMON_BYTES, KEY_SLOT_BYTES, Luks1, Luks2, SLOT_ENABLED } from './layout.ts';

interface Volume {
  version: number;
  /** As cryptsetup shows it: `aes-xts-plain64`. */
  cipher: string;
  /** Where the encrypted disk begins, in bytes. */
  payloadAt: number;
  details: Record<string, unknown>;
}

export async function openLuks(source: ByteSource): Promise<Image> {
  const start = await source.read(0, Math.min(COMMON_BYTES, source.size), 'LUKS header');
  const volume = start[7] === 2 ? await readLuks2(source) : await readLuks1(source);
  const { version, cipher, payloadAt, details } = volume;
  return {
    format: 'luks',
    subformat: `LUKS${version}`,
    virtualSize: Math.max(0, source.size - payloadAt),
    dataFiles: [{ source }],
    metadata: {},
    facts: {
      blockSize: 0,
      references: [],
      snapshots: [],
      encrypted: true,
      compressed: false,
      dirty: false,
      warnings: [],
      details: { cipher, ...details },
    },
    // biome-ignore lint/correctness/useYield: there is nothing to give
    async *extents() {
      const what = `encrypted, LUKS${version} with ${escapeText(cipher)}: not supported`;
      throw new VdconvError('unsupported', what, {
        ...{ file: source.name, format: 'luks', field: 'cipher' },
        hint: 'decrypt it with qemu-img or cryptsetup first; -f raw takes the encrypted bytes as they are',
      });
    },
  };
}

async function readLuks1(source: ByteSource): Promise<Volume> {
  const bytes = await source.read(0, Math.min(Luks1.size, source.size), Luks1.name);
  const header = Luks1.decode(bytes, { file: source.name, format: 'luks', at: 0 });
  const slots = new DataView(header.keySlots.buffer, header.keySlots.byteOffset);
  let used = 0;
  for (let at = 0; at < header.keySlots.length; at += KEY_SLOT_BYTES) {
    used += slots.getUint32(at) === SLOT_ENABLED ? 1 : 0;
  }
  return {
    version: 1,
    cipher: `${text(header.cipherName)}-${text(header.cipherMode)}`,
    payloadAt: sectorsToBytes(header.payloadOffset),
    details: {
      hash: text(header.hashSpec),
      keyBits: header.keyBytes * 8,
      uuid: text(header.uuid),
      payloadOffset: sectorsToBytes(header.payloadOffset),
      keySlots: used,
    },
  };
}

/** What its JSON says of the one segment that volumes have; what it does not say is left out. */
async function readLuks2(source: ByteSource): Promise<Volume> {
  const bytes = await source.read(0, Math.min(Luks2.size, source.size), Luks2.name);
  const header = Luks2.decode(bytes, { file: source.name, format: 'luks', at: 0 });
  const json = await source.read(Luks2.size, header.headerSize - Luks2.size, 'LUKS2 JSON area');
  const { encryption, offset } = segmentOf(text(json), source);
  const payloadAt = typeof offset === 'string' && /^\d{1,15}$/.test(offset) ? Number(offset) : header.headerSize;
  return {
    version: 2,
    cipher: typeof encryption === 'string' ? encryption : 'an unknown cipher',
    payloadAt,
    details: { label: text(header.label), uuid: text(header.uuid), payloadOffset: payloadAt },
  };
}

function segmentOf(json: string, { name: file }: ByteSource): { encryption?: unknown; offset?: unknown } {
  const parsed = parse(json);
  if (parsed instanceof SyntaxError) {
    const details = { file, format: 'luks', field: 'JSON area', offset: Luks2.size, cause: parsed };
    throw new VdconvError('corrupt', 'the JSON area of the LUKS2 header is no JSON', details);
  }
  return parsed?.segments?.['0'] ?? {};
}

function parse(json: string): { segments?: Record<string, object> } | null | SyntaxError {
  try {
    return JSON.parse(json);
  } catch (error) {
    return error as SyntaxError;
  }
}

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}
