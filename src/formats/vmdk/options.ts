/** What `-o` takes for VMDK: qemu-img's keys. */
import { VdconvError } from '../../base/errors.ts';
import type { OptionSpec, OptionValue } from '../format.ts';

export const SUBFORMATS = ['monolithicSparse', 'streamOptimized'] as const;
export type Subformat = (typeof SUBFORMATS)[number];

export const ADAPTER_TYPES = ['ide', 'buslogic', 'lsilogic', 'legacyESX'] as const;
export type AdapterType = (typeof ADAPTER_TYPES)[number];

export const options: readonly OptionSpec[] = [
  {
    key: 'subformat',
    type: 'choice',
    choices: SUBFORMATS,
    default: 'monolithicSparse',
    help: 'monolithicSparse for Workstation, Fusion and VirtualBox; streamOptimized (compressed) for OVA, vSphere and AWS, and the default with -c',
  },
  {
    key: 'adapter_type',
    type: 'choice',
    choices: ADAPTER_TYPES,
    default: 'lsilogic',
    help: 'disk controller that the descriptor names; it decides the geometry',
  },
  {
    key: 'hwversion',
    type: 'number',
    default: 4,
    check: checkHwVersion,
    help: 'virtual hardware version that the descriptor names; products refuse versions above their own',
  },
];

function checkHwVersion(value: OptionValue): void {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 3 || value > 99) {
    throw new VdconvError('usage', `hwversion is ${value}: it must be a whole number from 3 to 99`);
  }
}
