/** What a conversion leaves behind, and what the user should know of the source: the one place that says so. */
import { escapeText } from '../base/errors.ts';
import type { WritePlan } from '../formats/format.ts';
import { droppedMetadata, METADATA_WORDS } from '../formats/metadata.ts';
import type { Chain } from './chain.ts';

/** What the source says of the disk and the target has no place for, in words. */
export function droppedFrom({ top: { image } }: Chain, { carried = [] }: WritePlan): string[] {
  return droppedMetadata(image.metadata ?? {}, carried).map((key) => METADATA_WORDS[key]);
}

/** One sentence each, for the result and stderr. */
export function notesOf(chain: Chain, plan: WritePlan, snapshot: string | undefined): string[] {
  const notes = chain.layers.flatMap(({ source, image }) =>
    image.facts.warnings.map((warning) => `${escapeText(source.name)}: ${warning}`),
  );
  const { snapshots, bitmaps = [] } = chain.top.image.facts;
  if (snapshots.length > 0) {
    const what = snapshots.length === 1 ? '1 internal snapshot is' : `${snapshots.length} internal snapshots are`;
    const state = snapshot === undefined ? 'the current state of the disk' : `snapshot '${escapeText(snapshot)}'`;
    notes.push(`${what} not carried over: only ${state} is converted`);
  }
  if (bitmaps.length > 0) {
    notes.push(
      `${bitmaps.length === 1 ? '1 dirty bitmap is' : `${bitmaps.length} dirty bitmaps are`} not carried over`,
    );
  }
  return [...chain.notes, ...notes, ...plan.notes];
}
