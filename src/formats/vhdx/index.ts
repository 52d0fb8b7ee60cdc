/** VHDX: the disk format of Hyper-V since Windows Server 2012. */

import type { Format, Sample } from '../format.ts';
import { checkVhdx } from './check.ts';
import { FileTypeIdentifier } from './layout.ts';
import { options } from './options.ts';
import { planVhdx } from './plan.ts';
import { openVhdx } from './reader.ts';

export const vhdx: Format = {
  name: 'vhdx',
  aliases: [],
  title: 'Hyper-V disk (Windows 8, Server 2012 and later)',
  extensions: ['vhdx', 'avhdx'],
  probe,
  open: openVhdx,
  check: checkVhdx,
  layers: true,
  // Regions and log are in front, as every known writer places them.
  readsForward: () => true,
  options,
  compresses: false,
  plan: planVhdx,
};

/** "vhdxfile". A file that ends soon after is a broken image, and still no raw disk. */
function probe({ head }: Sample): boolean {
  const { signature, signatureEnd } = FileTypeIdentifier.fields;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  return (
    head.length >= 8 &&
    [signature, signatureEnd].every((field) => field.illegal(field.get(view, field.offset, true)) === undefined)
  );
}
