/** Which snapshot the user means, and the disk as it was then. */
import { escapeText, VdconvError } from '../../base/errors.ts';
import { illegalValue } from '../../base/struct.ts';
import { alignDown, isAligned, SECTOR } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import { has, Incompatible } from './features.ts';
import { type Header, l1EntriesNeeded } from './header.ts';
import { MAX_L1_BYTES, snapshotHeader } from './layout.ts';
import type { Snapshot } from './snapshots.ts';

/**
 * `wanted` is an id or a name, or says which as qemu-img's `-l` does: `snapshot.id=ID,snapshot.name=NAME`. QEMU takes
 * the id where one snapshot's id is another one's name; here that is an error, and so is a name that two have.
 */
export function findSnapshot(list: readonly Snapshot[], wanted: string, { origin }: Header): Snapshot {
  const { id, name, either } = parseWanted(wanted);
  const found = list.filter(
    (s) =>
      (id === undefined || s.id === id) &&
      (name === undefined || s.name === name) &&
      (either === undefined || s.id === either || s.name === either),
  );
  const [snapshot, another] = found;
  if (snapshot !== undefined && another === undefined) {
    return snapshot;
  }
  const show = (s: Snapshot) => `${escapeText(s.id)} '${escapeText(s.name)}'`;
  const shown = (some: readonly Snapshot[]) =>
    some.slice(0, SHOWN).map(show).join(', ') + (some.length > SHOWN ? `, and ${some.length - SHOWN} more` : '');
  const what = `snapshot '${escapeText(wanted)}'`;
  throw snapshot === undefined
    ? new VdconvError('usage', `${what}: there is none`, {
        ...origin,
        hint: list.length === 0 ? 'the image has no internal snapshots' : `there are ${shown(list)}`,
      })
    : new VdconvError('usage', `${what} could be ${shown(found)}`, { ...origin, hint: 'say snapshot.id=ID' });
}

/** Snapshots that a message names. */
const SHOWN = 10;

function parseWanted(wanted: string): { id?: string; name?: string; either?: string } {
  if (!wanted.startsWith('snapshot.')) {
    return { either: wanted };
  }
  const parts: { id?: string; name?: string } = {};
  // A comma in a value is doubled, as in every option of qemu-img's.
  for (const part of wanted.split(/(?<!,),(?!,)/)) {
    const [, key, value] = /^snapshot\.(id|name)=(.*)$/s.exec(part) ?? [];
    if (key === undefined || value === undefined) {
      throw new VdconvError('usage', `snapshot '${escapeText(wanted)}': takes snapshot.id=ID,snapshot.name=NAME`);
    }
    parts[key as 'id' | 'name'] = value.replaceAll(',,', ',');
  }
  return parts;
}

/**
 * The header as it was: QCOW2 §Snapshots, a snapshot has its own L1 table and its own size. What its L1 table has beyond
 * the disk is the state of the virtual machine.
 */
export function headerOf(snapshot: Snapshot, header: Header, source: ByteSource): Header {
  const { clusterSize, l2EntrySize, origin } = header;
  const { l1TableOffset, l1Size, at } = snapshot;
  const virtualSize = alignDown(snapshot.virtualSize ?? header.size, SECTOR);
  const fault = (
    field: keyof typeof snapshotHeader.fields | 'diskSize',
    value: number,
    says: string,
    code: 'corrupt' | 'limit' = 'corrupt',
  ) => {
    const offset = at + (field === 'diskSize' ? snapshotHeader.size + 8 : snapshotHeader.fields[field].offset);
    return illegalValue(code, snapshotHeader.name, field, `${value}`, origin, offset, `${says}; QCOW2 §Snapshots`);
  };
  if (!Number.isSafeInteger(virtualSize)) {
    throw fault('diskSize', virtualSize, 'sizes beyond 2^53 - 1 are not supported', 'limit');
  }
  if (!isAligned(l1TableOffset, clusterSize) || (l1TableOffset === 0 && l1Size > 0)) {
    throw fault('l1TableOffset', l1TableOffset, `must be a multiple of the cluster size ${clusterSize}, and not 0`);
  }
  if (l1Size * 8 > MAX_L1_BYTES) {
    throw fault('l1Size', l1Size, `vdconv takes at most ${MAX_L1_BYTES / 8}`, 'limit');
  }
  const needed = l1EntriesNeeded(virtualSize, clusterSize, l2EntrySize);
  if (l1Size < needed) {
    throw fault('l1Size', l1Size, `a disk of ${virtualSize} bytes needs ${needed} entries`);
  }
  const end = l1TableOffset + l1Size * 8;
  if (end > source.size) {
    const what = `L1 table of snapshot ${escapeText(snapshot.id)} at offset ${l1TableOffset} ends at ${end}, the file at ${source.size}`;
    throw new VdconvError('truncated', what, { ...origin, field: 'l1TableOffset', offset: at });
  }
  if (has(header.incompatibleFeatures, Incompatible.externalDataFile)) {
    const what = 'an image with an external data file has no internal snapshots; QCOW2 §External data file';
    throw new VdconvError('corrupt', what, { ...origin, field: 'nbSnapshots', offset: at });
  }
  return { ...header, virtualSize, l1TableOffset, l1Size };
}
