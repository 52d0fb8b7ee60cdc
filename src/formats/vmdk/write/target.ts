/** What a plan is made for, once subformat, size and disk database are decided. */
import type { Sectors } from '../../../base/units.ts';
import type { PlanFile, WritePlan, WriteRequest } from '../../format.ts';
import type { DescriptorValues } from './descriptor-text.ts';
import type { DiskDatabase } from './disk-database.ts';
import type { Subformat } from './options.ts';

export interface Target {
  request: WriteRequest;
  subformat: Subformat;
  capacity: Sectors;
  database: DiskDatabase['entries'];
}

/** What a subformat decides of a plan: its files. */
export type PlannedFiles = PlanFile & Pick<WritePlan, 'siblings'>;

export function descriptorOf(
  { request, subformat, capacity, database }: Target,
  extents: readonly string[],
  parent?: DescriptorValues['parent'],
): DescriptorValues {
  return { createType: subformat, capacity, extents, database, parent, randomId: request.randomId };
}

/** The one extent of a file that holds its own descriptor. Readers ignore the name, so that such files can be renamed. */
export function ownExtent({ capacity }: Target): string[] {
  return [`RW ${capacity} SPARSE "disk.vmdk"`];
}
