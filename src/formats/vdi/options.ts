/** What `-o` takes for VDI: qemu-img's key. */
import type { OptionSpec } from '../format.ts';

export const options: readonly OptionSpec[] = [
  {
    key: 'static',
    type: 'flag',
    default: false,
    help: 'give every block its place in the file (VirtualBox calls it fixed size); otherwise only what is used is stored',
  },
];
