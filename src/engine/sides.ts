/** Two disks to be compared, as one list of files and two maps that are cut alike. */
import { sameFile } from '../io/file-identity.ts';
import { identityOf } from '../io/file-source.ts';
import type { DataFile } from '../map/data-file.ts';
import { type PairedMaps, paired } from '../map/paired.ts';
import type { Side } from './contract.ts';

export interface Sides {
  files: DataFile[];
  maps: PairedMaps;
}

export function sidesOf(a: Side, b: Side): Sides {
  const isSame = (x: number, y: number) => isOne(a.files[x] as DataFile, b.files[y] as DataFile);
  return { files: [...a.files, ...b.files], maps: paired(a.map, b.map, a.files.length, isSame) };
}

function isOne({ source: a }: DataFile, { source: b }: DataFile): boolean {
  const [left, right] = [identityOf(a), identityOf(b)];
  return a === b || (left !== undefined && right !== undefined && sameFile(left, right));
}
