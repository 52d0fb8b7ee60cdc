/** QCOW2, versions 2 and 3: the disk format of QEMU and KVM. */
import type { Field } from '../../base/struct.ts';
import type { Format, Sample } from '../format.ts';
import { checkQcow2 } from './check/check.ts';
import { headerV2, MAGIC } from './layout.ts';
import { options } from './options.ts';
import { planQcow2 } from './plan.ts';
import { openQcow2 } from './reader.ts';

export const qcow2: Format = {
  name: 'qcow2',
  aliases: [],
  title: 'QEMU and KVM disk, versions 2 and 3',
  extensions: ['qcow2', 'qcow'],
  probe,
  open: openQcow2,
  check: checkQcow2,
  hasSnapshots: true,
  layers: true,
  readsForward,
  options,
  compresses: true,
  plan: planQcow2,
};

/** Tables come before what they map, as every known writer places them; the table of snapshots lies behind the data. */
function readsForward(head: Uint8Array): boolean {
  return head.length >= headerV2.size && headerV2.peek(head).nbSnapshots === 0;
}

/** Version 1 has the same magic number and nothing else in common: another format. */
function probe({ head }: Sample): boolean {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const { magic, version } = headerV2.fields;
  const end = (field: Field<number>) => field.offset + field.size;
  return (
    head.length >= end(magic) &&
    magic.get(view, magic.offset, false) === MAGIC &&
    // A file that ends here is a broken image, and still no raw disk.
    (head.length < end(version) || version.get(view, version.offset, false) !== 1)
  );
}
