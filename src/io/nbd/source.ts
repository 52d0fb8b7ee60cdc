/** An NBD export as a byte source. */
import { VdconvError } from '../../base/errors.ts';
import { alignDown, alignUp, GiB, KiB } from '../../base/units.ts';
import type { ByteSource } from '../types.ts';
import { type NbdAddress, NbdConnection } from './client.ts';
import { MAX_STRING, Status, TransmissionFlag } from './protocol.ts';

/** `nbd://HOST[:PORT]/EXPORT`, `nbd+unix:///EXPORT?socket=PATH`. Spec: doc/uri.md of NetworkBlockDevice/nbd. */
export function isNbdUri(text: string): boolean {
  return /^nbds?(\+unix)?:\/\//.test(text);
}

const DEFAULT_PORT = 10809;

/** Throws `usage` where it is no such address. */
export function parseNbdUri(text: string): NbdAddress {
  const wrong = (says: string) => new VdconvError('usage', says, { file: text });
  if (text.startsWith('nbds')) {
    throw new VdconvError('unsupported', 'NBD over TLS is not supported', {
      file: text,
      hint: 'tunnel it, or use nbd://',
    });
  }
  const uri = URL.canParse(text) ? new URL(text) : undefined;
  const exportName = uri && decoded(uri.pathname.slice(1));
  if (uri === undefined || exportName === undefined) {
    throw wrong('is no NBD address');
  }
  if (Buffer.byteLength(exportName) > MAX_STRING) {
    throw wrong(`the name of an export has at most ${MAX_STRING} bytes`);
  }
  if (uri.protocol === 'nbd+unix:') {
    const path = uri.searchParams.get('socket');
    if (path === null || path === '' || uri.hostname !== '') {
      throw wrong('must be nbd+unix:///EXPORT?socket=PATH');
    }
    return { name: text, to: { path }, exportName };
  }
  if (uri.hostname === '') {
    throw wrong('must be nbd://HOST[:PORT]/EXPORT');
  }
  const host = uri.hostname.replace(/^\[|\]$/g, '');
  return { name: text, to: { host, port: uri.port === '' ? DEFAULT_PORT : Number(uri.port) }, exportName };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** Bytes of one request: several on each connection keep a link busy. */
const REQUEST = 256 * KiB;
/** Bytes of one question for block status: less than 2^32, a multiple of any block. */
const ASK = 2 * GiB;
/** Runs of data that are remembered; what lies behind the last is read as data. */
const MAX_RUNS = 2 ** 20;

const DEFAULT_CONNECTIONS = 4;

/** Throws `usage` for an address that is none, `read` where the server does not answer as one. */
export async function openNbdSource(
  uri: string,
  { connections = DEFAULT_CONNECTIONS, patience }: { connections?: number | undefined; patience?: number } = {},
): Promise<ByteSource> {
  const address = parseNbdUri(uri);
  const first = await NbdConnection.open(address, patience);
  const all = [first];
  try {
    const many = (first.flags & (TransmissionFlag.canMultiConn | TransmissionFlag.readOnly)) !== 0;
    const more = Array.from({ length: many ? connections - 1 : 0 }, () => NbdConnection.open(address, patience));
    for (const opened of await Promise.allSettled(more)) {
      // A server may take fewer clients than asked for.
      if (opened.status === 'fulfilled' && opened.value.size === first.size) {
        all.push(opened.value);
      }
    }
    const runs = first.hasAllocation ? await dataRuns(first) : undefined;
    return new NbdSource(address.name, all, runs);
  } catch (error) {
    for (const connection of all) {
      connection.close();
    }
    throw error;
  }
}

class NbdSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly remote = true;
  readonly dataRuns?: (start: number, end: number, max: number) => Float64Array;
  readonly #connections: readonly NbdConnection[];
  #turn = 0;

  constructor(name: string, connections: readonly NbdConnection[], runs: Float64Array | undefined) {
    this.name = name;
    this.size = (connections[0] as NbdConnection).size;
    this.#connections = connections;
    if (runs !== undefined) {
      this.dataRuns = (start, end, max) => within(runs, start, end, max);
    }
  }

  async read(offset: number, length: number, what: string): Promise<Uint8Array> {
    if (offset + length > this.size) {
      const message = `${what} needs ${length} bytes at offset ${offset}, the export ends at ${this.size}`;
      throw new VdconvError('truncated', message, { file: this.name, field: what, offset });
    }
    const { minBlock, maxPayload } = this.#connections[0] as NbdConnection;
    const start = alignDown(offset, minBlock);
    const end = Math.min(alignUp(offset + length, minBlock), this.size);
    const step = Math.max(minBlock, Math.min(REQUEST, maxPayload));
    const parts: Promise<Uint8Array>[] = [];
    for (let at = start; at < end; at += step) {
      this.#turn = (this.#turn + 1) % this.#connections.length;
      parts.push((this.#connections[this.#turn] as NbdConnection).read(at, Math.min(step, end - at)));
    }
    const [whole, ...more] = await Promise.all(parts);
    if (whole !== undefined && more.length === 0 && whole.length === length) {
      return whole;
    }
    const bytes = new Uint8Array(Buffer.concat(await Promise.all(parts)).subarray(offset - start));
    return bytes.subarray(0, length);
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) {
      connection.close();
    }
  }
}

/** Where the export is not zeros: pairs of start and end. */
async function dataRuns(connection: NbdConnection): Promise<Float64Array> {
  const { size, minBlock } = connection;
  const runs: number[] = [];
  const data = (start: number, end: number): void => {
    if (runs.at(-1) === start) {
      runs[runs.length - 1] = end;
    } else {
      runs.push(start, end);
    }
  };
  const askable = alignDown(size, minBlock);
  for (let at = 0; at < askable; ) {
    if (runs.length >= 2 * MAX_RUNS) {
      data(at, size);
      return Float64Array.from(runs);
    }
    const status = await connection.blockStatus(at, Math.min(ASK, askable - at));
    const before = at;
    for (let i = 0; i + 1 < status.length && at < askable; i += 2) {
      // The last one may be longer than what was asked for.
      const end = Math.min(size, at + (status[i] as number));
      if (((status[i + 1] as number) & Status.zero) === 0 && end > at) {
        data(at, end);
      }
      at = end;
    }
    if (at === before) {
      throw connection.garbage(`gave a block status of no length at ${at}`);
    }
  }
  if (askable < size) {
    data(askable, size);
  }
  return Float64Array.from(runs);
}

/** The runs that meet [start, end), cut to it, at most `max` of them. */
function within(runs: Float64Array, start: number, end: number, max: number): Float64Array {
  let low = 0;
  let high = runs.length / 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((runs[2 * middle + 1] as number) <= start) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const out: number[] = [];
  for (let i = low; i < runs.length / 2 && out.length < 2 * max && (runs[2 * i] as number) < end; i += 1) {
    out.push(Math.max(start, runs[2 * i] as number), Math.min(end, runs[2 * i + 1] as number));
  }
  return Float64Array.from(out);
}
