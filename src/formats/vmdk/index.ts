/** VMDK, the disk format of VMware products, VirtualBox and OVA packages. */
import type { Format } from '../format.ts';
import { checkVmdk } from './check/check.ts';
import { readsForward } from './hosted/open.ts';
import { fileKind } from './kind.ts';
import { openVmdk } from './reader.ts';
import { options } from './write/options.ts';
import { planVmdk } from './write/plan.ts';

export const vmdk: Format = {
  name: 'vmdk',
  aliases: [],
  title: 'VMware disk: Workstation, Fusion, ESXi, VirtualBox, OVA packages',
  extensions: ['vmdk'],
  probe: ({ head }) => fileKind(head) !== undefined,
  open: openVmdk,
  check: checkVmdk,
  readsForward: (head) => fileKind(head) === 'hosted' && readsForward(head),
  options,
  compresses: true,
  layers: true,
  plan: planVmdk,
};
