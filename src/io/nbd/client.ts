/** One connection to an NBD server: handshake, reads and block status, any number under way. */
import { connect, type Socket } from 'node:net';
import { escapeText, VdconvError } from '../../base/errors.ts';
import {
  ALLOCATION,
  CHUNK_DONE,
  CHUNK_MAGIC,
  Chunk,
  Command,
  Handshake,
  Info,
  MAX_PAYLOAD,
  NBD_MAGIC,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  Option,
  REQUEST_MAGIC,
  Reply,
  SIMPLE_REPLY_MAGIC,
} from './protocol.ts';
import { SocketBytes } from './socket-bytes.ts';

export interface NbdAddress {
  /** As messages name it. */
  name: string;
  to: { host: string; port: number } | { path: string };
  exportName: string;
}

/** Milliseconds without a byte while an answer is due. */
const PATIENCE = 30_000;
/** Bytes of an option's reply, beyond any that means something. */
const MAX_REPLY = 64 << 10;

interface Pending {
  kind: 'read' | 'status';
  offset: number;
  bytes: Uint8Array;
  received: number;
  /** Pairs of length and flags. */
  status: number[];
  resolve(): void;
  reject(error: Error): void;
}

export class NbdConnection {
  /** Bytes of the export, and what the server says of it (transmission flags). */
  size = 0;
  flags = 0;
  /** Requests begin and end at multiples of it. */
  minBlock = 1;
  maxPayload = MAX_PAYLOAD;
  /** Block status can be asked for. */
  hasAllocation = false;
  readonly #address: NbdAddress;
  readonly #socket: Socket;
  readonly #bytes: SocketBytes;
  readonly #pending = new Map<number, Pending>();
  #structured = false;
  /** Of base:allocation; 0 is one too. */
  #contextId: number | undefined;
  #cookie = 0;
  #failure: Error | undefined;

  private constructor(address: NbdAddress) {
    this.#address = address;
    this.#socket = 'path' in address.to ? connect(address.to.path) : connect(address.to);
    this.#socket.setNoDelay(true);
    this.#bytes = new SocketBytes(this.#socket);
  }

  static async open(address: NbdAddress, patience = PATIENCE): Promise<NbdConnection> {
    const connection = new NbdConnection(address);
    connection.#watch(patience, true);
    try {
      await connection.#handshake();
    } catch (error) {
      connection.#socket.destroy();
      throw connection.#failed(error);
    }
    connection.#watch(patience, false);
    void connection.#answers();
    return connection;
  }

  /** Exactly `length` bytes, at most {@link maxPayload}. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const pending = await this.#request('read', Command.read, offset, length);
    if (pending.received !== length) {
      throw this.garbage(`gave ${pending.received} bytes for ${length}`);
    }
    return pending.bytes;
  }

  /** Pairs of length and flags from `offset` on, at least one. */
  async blockStatus(offset: number, length: number): Promise<readonly number[]> {
    const { status } = await this.#request('status', Command.blockStatus, offset, length);
    if (status.length === 0) {
      throw this.garbage('gave no block status');
    }
    return status;
  }

  close(): void {
    this.#failure ??= new Error('closed');
    this.#socket.end(request(Command.disconnect, 0, 0, 0));
    // A server that does not close keeps nobody.
    this.#socket.unref();
    setTimeout(() => this.#socket.destroy(), 1000).unref();
  }

  /** Ends a connection on which an answer is due and nothing comes. */
  #watch(patience: number, always: boolean): void {
    this.#socket.removeAllListeners('timeout');
    this.#socket.setTimeout(patience);
    this.#socket.on('timeout', () => {
      if (always || this.#pending.size > 0) {
        this.#bytes.fail(new Error(`no answer for ${patience / 1000} seconds`));
        this.#socket.destroy();
      }
    });
  }

  async #request(kind: Pending['kind'], command: number, offset: number, length: number): Promise<Pending> {
    if (this.#failure !== undefined) {
      throw this.#failed(this.#failure);
    }
    this.#cookie += 1;
    const cookie = this.#cookie;
    return new Promise((resolve, reject) => {
      const pending: Pending = {
        ...{ kind, offset, bytes: new Uint8Array(kind === 'read' ? length : 0), received: 0, status: [], reject },
        resolve: () => resolve(pending),
      };
      this.#pending.set(cookie, pending);
      this.#socket.write(request(command, cookie, offset, length));
    });
  }

  async #answers(): Promise<void> {
    try {
      for (;;) {
        await this.#answer();
      }
    } catch (error) {
      this.#failure ??= error as Error;
      this.#socket.destroy();
      for (const { reject } of this.#pending.values()) {
        reject(this.#failed(this.#failure));
      }
      this.#pending.clear();
    }
  }

  async #answer(): Promise<void> {
    const magic = (await this.#bytes.take(4)).readUInt32BE(0);
    if (magic === SIMPLE_REPLY_MAGIC) {
      const head = await this.#bytes.take(12);
      const pending = this.#pendingFor(head.readBigUInt64BE(4));
      const errno = head.readUInt32BE(0);
      if (errno !== 0) {
        pending.reject(this.#refused(pending, errno, ''));
      } else if (pending.kind === 'read') {
        await this.#fill(pending, pending.offset, pending.bytes.length);
        pending.resolve();
      } else {
        throw this.garbage('answered a block status request without one');
      }
      this.#pending.delete(Number(head.readBigUInt64BE(4)));
    } else if (magic === CHUNK_MAGIC && this.#structured) {
      await this.#chunk();
    } else {
      throw this.garbage(`sent 0x${magic.toString(16)} in place of a reply`);
    }
  }

  async #chunk(): Promise<void> {
    const head = await this.#bytes.take(16);
    const [flags, type, cookie, length] = [
      head.readUInt16BE(0),
      head.readUInt16BE(2),
      head.readBigUInt64BE(4),
      head.readUInt32BE(12),
    ];
    const pending = this.#pendingFor(cookie);
    if (type === Chunk.data && pending.kind === 'read' && length > 8) {
      const offset = Number((await this.#bytes.take(8)).readBigUInt64BE(0));
      await this.#fill(pending, offset, length - 8);
    } else {
      if (length > MAX_REPLY * 16) {
        throw this.garbage(`sent a chunk of ${length} bytes`);
      }
      this.#take(pending, type, await this.#bytes.take(length));
    }
    if ((flags & CHUNK_DONE) !== 0) {
      this.#pending.delete(Number(cookie));
      pending.resolve();
    }
  }

  /** A chunk without data. After a rejection, `resolve` does nothing. */
  #take(pending: Pending, type: number, payload: Buffer): void {
    if (type === Chunk.none && payload.length === 0) {
      return;
    }
    if (type === Chunk.hole && pending.kind === 'read' && payload.length === 12) {
      this.#count(pending, Number(payload.readBigUInt64BE(0)), payload.readUInt32BE(8));
      return;
    }
    if (type === Chunk.blockStatus && pending.kind === 'status' && payload.length % 8 === 4 && payload.length > 4) {
      if (payload.readUInt32BE(0) === this.#contextId) {
        for (let at = 4; at < payload.length; at += 8) {
          pending.status.push(payload.readUInt32BE(at), payload.readUInt32BE(at + 4));
        }
      }
      return;
    }
    if ((type === Chunk.error || type === Chunk.errorOffset) && payload.length >= 6) {
      const text = payload.toString('utf8', 6, 6 + payload.readUInt16BE(4));
      pending.reject(this.#refused(pending, payload.readUInt32BE(0), text));
      return;
    }
    throw this.garbage(`sent a chunk of type ${type} and ${payload.length} bytes`);
  }

  /** Data into its place, as it comes: a large answer is in memory once. */
  async #fill(pending: Pending, offset: number, length: number): Promise<void> {
    const at = this.#count(pending, offset, length);
    for (let done = 0; done < length; ) {
      const piece = await this.#bytes.take(Math.min(length - done, 256 << 10));
      pending.bytes.set(piece, at + done);
      done += piece.length;
    }
  }

  #count(pending: Pending, offset: number, length: number): number {
    const at = offset - pending.offset;
    if (at < 0 || at + length > pending.bytes.length || pending.received + length > pending.bytes.length) {
      throw this.garbage(`sent ${length} bytes at ${offset} that were not asked for`);
    }
    pending.received += length;
    return at;
  }

  #pendingFor(cookie: bigint): Pending {
    const pending = this.#pending.get(Number(cookie));
    if (pending === undefined) {
      throw this.garbage(`answered request ${cookie}, which there is not`);
    }
    return pending;
  }

  async #handshake(): Promise<void> {
    const greeting = await this.#bytes.take(18);
    if (greeting.readBigUInt64BE(0) !== NBD_MAGIC || greeting.readBigUInt64BE(8) !== OPTION_MAGIC) {
      throw this.garbage('is no NBD server of the newstyle protocol');
    }
    const flags = greeting.readUInt16BE(16) & (Handshake.fixedNewstyle | Handshake.noZeroes);
    const answer = Buffer.alloc(4);
    answer.writeUInt32BE(flags);
    this.#socket.write(answer);
    this.#structured = await this.#option(Option.structuredReply, Buffer.alloc(0));
    if (this.#structured) {
      const query = Buffer.concat([text(this.#address.exportName), number(1), text(ALLOCATION)]);
      this.hasAllocation = (await this.#option(Option.setMetaContext, query)) && this.#contextId !== undefined;
    }
    const wish = Buffer.alloc(4);
    wish.writeUInt16BE(1, 0);
    wish.writeUInt16BE(Info.blockSize, 2);
    if (!(await this.#option(Option.go, Buffer.concat([text(this.#address.exportName), wish])))) {
      await this.#exportName((flags & Handshake.noZeroes) !== 0);
    }
    if (this.size > Number.MAX_SAFE_INTEGER) {
      throw this.garbage(`exports ${this.size} bytes`);
    }
  }

  /** The way before GO, without answers but a close. */
  async #exportName(short: boolean): Promise<void> {
    const name = Buffer.from(this.#address.exportName);
    this.#socket.write(Buffer.concat([optionHead(Option.exportName, name.length), name]));
    const answer = await this.#bytes.take(short ? 10 : 134);
    this.size = Number(answer.readBigUInt64BE(0));
    this.flags = answer.readUInt16BE(8);
  }

  /** False: the server does not know the option. */
  async #option(option: number, data: Buffer): Promise<boolean> {
    this.#socket.write(Buffer.concat([optionHead(option, data.length), data]));
    // A server that goes on and on is none.
    for (let replies = 0; replies < 100; replies += 1) {
      const head = await this.#bytes.take(20);
      const [type, length] = [head.readUInt32BE(12), head.readUInt32BE(16)];
      if (head.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC || head.readUInt32BE(8) !== option || length > MAX_REPLY) {
        throw this.garbage(`answered option ${option} with what is no answer`);
      }
      const payload = await this.#bytes.take(length);
      if (type === Reply.ack) {
        return true;
      }
      if (type === Reply.unsupported) {
        return false;
      }
      if (type > 0x80000000) {
        if (option !== Option.go) {
          return false;
        }
        const says = payload.length === 0 ? `error ${type - 0x80000000}` : escapeText(payload.toString('utf8'));
        const what = `the NBD server does not give the export '${escapeText(this.#address.exportName)}': ${says}`;
        throw new VdconvError('read', what, { file: this.#address.name });
      }
      this.#learn(type, payload);
    }
    throw this.garbage(`answers option ${option} without end`);
  }

  #learn(type: number, payload: Buffer): void {
    if (type === Reply.metaContext && payload.length >= 4 && payload.toString('utf8', 4) === ALLOCATION) {
      this.#contextId = payload.readUInt32BE(0);
    }
    const info = type === Reply.info && payload.length >= 2 ? payload.readUInt16BE(0) : undefined;
    if (info === Info.export && payload.length >= 12) {
      this.size = Number(payload.readBigUInt64BE(2));
      this.flags = payload.readUInt16BE(10);
    } else if (info === Info.blockSize && payload.length >= 14) {
      const [min, , max] = [payload.readUInt32BE(2), payload.readUInt32BE(6), payload.readUInt32BE(10)];
      if (min === 0 || (min & (min - 1)) !== 0 || min > 64 << 10 || max < min) {
        throw this.garbage(`says that blocks have ${min} to ${max} bytes`);
      }
      this.minBlock = min;
      this.maxPayload = Math.max(min, Math.min(max - (max % min), MAX_PAYLOAD));
    }
  }

  /** What the server does is not the protocol. */
  garbage(what: string): VdconvError {
    return new VdconvError('read', `the NBD server ${what}`, { file: this.#address.name });
  }

  #refused({ kind, offset }: Pending, errno: number, says: string): VdconvError {
    const why = says === '' ? `error ${errno}` : `${escapeText(says)} (error ${errno})`;
    const what = `the NBD server cannot ${kind === 'read' ? 'read' : 'tell the block status'} at offset ${offset}: ${why}`;
    return new VdconvError('read', what, { file: this.#address.name, offset });
  }

  #failed(cause: unknown): VdconvError {
    if (cause instanceof VdconvError) {
      return cause;
    }
    const why = escapeText(cause instanceof Error ? cause.message : String(cause));
    return new VdconvError('read', `the NBD connection failed: ${why}`, { file: this.#address.name, cause });
  }
}

function request(command: number, cookie: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(28);
  bytes.writeUInt32BE(REQUEST_MAGIC, 0);
  bytes.writeUInt16BE(command, 6);
  bytes.writeBigUInt64BE(BigInt(cookie), 8);
  bytes.writeBigUInt64BE(BigInt(offset), 16);
  bytes.writeUInt32BE(length, 24);
  return bytes;
}

function optionHead(option: number, length: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64BE(OPTION_MAGIC, 0);
  bytes.writeUInt32BE(option, 8);
  bytes.writeUInt32BE(length, 12);
  return bytes;
}

function number(n: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(n);
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([number(bytes.length), bytes]);
}
