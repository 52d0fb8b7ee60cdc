/** VDI, the disk format of VirtualBox. */
import type { Format, Sample } from '../format.ts';
import { checkVdi } from './check.ts';
import { Header, PREHEADER_BYTES } from './layout.ts';
import { options } from './options.ts';
import { planVdi } from './plan.ts';
import { openVdi } from './reader.ts';

export const vdi: Format = {
  name: 'vdi',
  aliases: [],
  title: 'VirtualBox disk',
  extensions: ['vdi'],
  probe,
  open: openVdi,
  check: checkVdi,
  // Header and block map are in front.
  readsForward: () => true,
  options,
  compresses: false,
  plan: planVdi,
};

/** The signature alone: the text before it differs from program to program. */
function probe({ head }: Sample): boolean {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const { signature } = Header.fields;
  return head.length >= PREHEADER_BYTES && signature.illegal(signature.get(view, signature.offset, true)) === undefined;
}
