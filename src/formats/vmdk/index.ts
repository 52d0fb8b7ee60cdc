/** VMDK, the disk format of VMware products, VirtualBox and OVA packages. */
import type { Format } from '../format.ts';
import { fileKind } from './kind.ts';
import { options } from './options.ts';
import { planVmdk } from './plan.ts';
import { openVmdk } from './reader.ts';

export const vmdk: Format = {
  name: 'vmdk',
  aliases: [],
  title: 'VMware disk: Workstation, Fusion, ESXi, VirtualBox, OVA packages',
  extensions: ['vmdk'],
  probe: ({ head }) => fileKind(head) !== undefined,
  open: openVmdk,
  options,
  compresses: true,
  plan: planVmdk,
};
