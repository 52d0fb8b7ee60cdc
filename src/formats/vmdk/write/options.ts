/** What `-o` takes for VMDK: qemu-img's keys where one exists. */
import { escapeText, VdconvError } from '../../../base/errors.ts';
import type { OptionSpec, OptionValue } from '../../format.ts';
import { diskId } from '../disk-id.ts';

export const SUBFORMATS = [
  'monolithicSparse',
  'streamOptimized',
  'monolithicFlat',
  'twoGbMaxExtentSparse',
  'twoGbMaxExtentFlat',
  'vmfs',
] as const;
export type Subformat = (typeof SUBFORMATS)[number];

export const ADAPTER_TYPES = ['ide', 'buslogic', 'lsilogic', 'legacyESX'] as const;
export type AdapterType = (typeof ADAPTER_TYPES)[number];

export const HW_VERSION = { min: 3, max: 99, default: 4 } as const;

export const options: readonly OptionSpec[] = [
  {
    key: 'subformat',
    type: 'choice',
    choices: SUBFORMATS,
    default: 'monolithicSparse',
    help:
      'monolithicSparse for Workstation, Fusion and VirtualBox; streamOptimized (compressed) for OVA, vSphere and AWS, and ' +
      'the default with -c; vmfs (NAME.vmdk and NAME-flat.vmdk) for ESXi; monolithicFlat likewise for the others; ' +
      'twoGbMaxExtentSparse and twoGbMaxExtentFlat in files below 2 GiB',
  },
  {
    key: 'adapter_type',
    type: 'choice',
    choices: ADAPTER_TYPES,
    default: 'lsilogic',
    help: "disk controller that the descriptor names, and with it the geometry; the source's goes before the default",
  },
  {
    key: 'hwversion',
    type: 'number',
    default: HW_VERSION.default,
    check: checkHwVersion,
    help: "virtual hardware version that the descriptor names; products refuse those above their own; the source's goes before the default",
  },
  { key: 'compat6', type: 'flag', default: false, help: 'hwversion 6: Workstation 5 and 6, ESX 4 and older' },
  {
    key: 'toolsversion',
    type: 'text',
    default: '',
    check: checkToolsVersion,
    help: "version number of VMware Tools in the guest; default: the source's, else none",
  },
  {
    key: 'zeroed_grain',
    type: 'flag',
    default: false,
    help: 'with -B: zeros over data of the base take no space; VirtualBox refuses such images',
  },
  {
    key: 'uuid',
    type: 'text',
    default: '',
    check: checkUuid,
    help: "the disk's id: as VirtualBox writes it (with hyphens) or as VMware does (16 bytes with spaces); default: the source's, else none",
  },
];

function checkHwVersion(value: OptionValue): void {
  const { min, max } = HW_VERSION;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw new VdconvError('usage', `hwversion is ${value}: it must be a whole number from ${min} to ${max}`);
  }
}

export const TOOLS_VERSION = /^\d{1,10}$/;

function checkToolsVersion(value: OptionValue): void {
  if (value !== '' && !TOOLS_VERSION.test(String(value))) {
    throw new VdconvError('usage', `toolsversion is '${escapeText(String(value))}': it must be a whole number`);
  }
}

function checkUuid(value: OptionValue): void {
  if (value !== '' && diskId(String(value)) === undefined) {
    throw new VdconvError('usage', `uuid is '${escapeText(String(value))}': it must be 32 hexadecimal digits`, {
      hint: 'for example c6601d4a-e361-42e6-9efa-8d5a1e9b042f, or 60 00 c2 9b and 12 bytes more',
    });
  }
}
