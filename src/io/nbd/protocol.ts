/** Spec: NBD protocol, doc/proto.md of NetworkBlockDevice/nbd as of 2026. Numbers on the wire are big-endian. */

/** `NBDMAGIC`, `IHAVEOPT`, and what option replies begin with. */
export const NBD_MAGIC = 0x4e42444d41474943n;
export const OPTION_MAGIC = 0x49484156454f5054n;
export const OPTION_REPLY_MAGIC = 0x0003e889045565a9n;

export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const CHUNK_MAGIC = 0x668e33ef;

/** Of the handshake, server and client alike. */
export const Handshake = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const Option = {
  exportName: 1,
  abort: 2,
  list: 3,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

/** Errors have the highest bit. */
export const Reply = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  unsupported: 0x80000001,
  invalid: 0x80000003,
  unknown: 0x80000006,
  tooBig: 0x80000009,
} as const;

export const Info = { export: 0, blockSize: 3 } as const;

export const TransmissionFlag = { hasFlags: 1, readOnly: 2, df: 1 << 7, canMultiConn: 1 << 8 } as const;

export const Command = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, blockStatus: 7 } as const;
export const Chunk = { none: 0, data: 1, hole: 2, blockStatus: 5, error: 0x8001, errorOffset: 0x8002 } as const;
/** The last chunk of a reply. */
export const CHUNK_DONE = 1;

export const ALLOCATION = 'base:allocation';
/** Of base:allocation: no space is taken; it reads as zeros. */
export const Status = { hole: 1, zero: 2 } as const;

/** Most bytes of a string, and of one request's payload where nothing else is said. */
export const MAX_STRING = 4096;
export const MAX_PAYLOAD = 32 << 20;
