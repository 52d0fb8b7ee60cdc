/** VHD, the disk format of Virtual PC, Hyper-V, Azure and XenServer; qemu-img's name for it is vpc. */
import type { Format } from '../format.ts';
import { checkVhd } from './check.ts';
import { hasFooter } from './footer.ts';
import { options } from './options.ts';
import { planVhd } from './plan.ts';
import { openVhd } from './reader.ts';

export const vhd: Format = {
  name: 'vhd',
  aliases: ['vpc'],
  title: 'Virtual Hard Disk: Azure, Hyper-V, XenServer, Virtual PC',
  extensions: ['vhd'],
  probe: hasFooter,
  open: openVhd,
  check: checkVhd,
  layers: true,
  options,
  compresses: false,
  plan: planVhd,
};
