/** QCOW2 §Snapshots: the table of internal snapshots. */
import { VdconvError } from '../../base/errors.ts';
import { alignUp, MiB } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import type { Header } from './header.ts';
import { MAX_SNAPSHOT_TABLE_BYTES, snapshotHeader } from './layout.ts';

export interface Snapshot {
  id: string;
  name: string;
  /** Bytes; absent in old images, where it is the size of the disk. Untrusted, as the L1 table's place is. */
  virtualSize?: number;
  /** When it was taken, in seconds since 1970. */
  time: number;
  /** The state of the whole disk, in an L1 table of its own. */
  l1TableOffset: number;
  l1Size: number;
  /** Of its table entry in the file. */
  at: number;
}

/** Extra data: u64 size of the VM state, u64 size of the disk, u64 instruction count; as many as extraDataSize says. */
const DISK_SIZE_END = 16;

/** One entry is at most 40 + 1024 + 2 * 65535 bytes, so a piece holds the whole of any entry that begins it. */
const PIECE = MiB;

/** Memory is bounded by the table's limit of 64 MiB, which an honest image does not come near. */
export async function readSnapshots(source: ByteSource, header: Header): Promise<Snapshot[]> {
  const list: Snapshot[] = [];
  let pieceAt = header.snapshotsOffset;
  let piece: Uint8Array = new Uint8Array(0);
  let at = pieceAt;
  for (let i = 0; i < header.nbSnapshots; i += 1) {
    let entry = parseEntry(piece, at - pieceAt, header, at);
    if (entry === undefined && at < source.size) {
      pieceAt = at;
      piece = await source.read(at, Math.min(PIECE, source.size - at), 'QCOW2 snapshot table');
      entry = parseEntry(piece, 0, header, at);
    }
    if (entry === undefined) {
      const what = `snapshot table entry ${i} at offset ${at} ends beyond the file, at ${source.size}`;
      throw new VdconvError('truncated', what, { ...header.origin, field: 'snapshotsOffset', offset: at });
    }
    list.push(entry.snapshot);
    at += entry.length;
    if (at - header.snapshotsOffset > MAX_SNAPSHOT_TABLE_BYTES) {
      const what = `snapshot table at offset ${header.snapshotsOffset} is larger than 64 MiB, a qemu limit`;
      throw new VdconvError('limit', what, { ...header.origin, field: 'nbSnapshots', offset: header.snapshotsOffset });
    }
  }
  return list;
}

/** The entry at `at` of `piece`, or undefined where it ends beyond it. */
function parseEntry(
  piece: Uint8Array,
  at: number,
  header: Header,
  fileOffset: number,
): { snapshot: Snapshot; length: number } | undefined {
  if (at + snapshotHeader.size > piece.length) {
    return undefined;
  }
  const fields = snapshotHeader.decode(piece, { ...header.origin, at: fileOffset }, at);
  const extra = at + snapshotHeader.size;
  const id = extra + fields.extraDataSize;
  const name = id + fields.idStrSize;
  const end = name + fields.nameSize;
  if (end > piece.length) {
    return undefined;
  }
  const text = new TextDecoder();
  const snapshot: Snapshot = {
    id: text.decode(piece.subarray(id, name)),
    name: text.decode(piece.subarray(name, end)),
    time: fields.dateSec,
    l1TableOffset: fields.l1TableOffset,
    l1Size: fields.l1Size,
    at: fileOffset,
  };
  if (fields.extraDataSize >= DISK_SIZE_END) {
    const view = new DataView(piece.buffer, piece.byteOffset, piece.byteLength);
    snapshot.virtualSize = Number(view.getBigUint64(extra + 8));
  }
  return { snapshot, length: alignUp(end - at, 8) };
}
