/** What `-o` takes for VDI: qemu-img's key, and the id. */
import { checkUuid } from '../../base/uuid.ts';
import type { OptionSpec } from '../format.ts';

export const options: readonly OptionSpec[] = [
  {
    key: 'static',
    type: 'flag',
    default: false,
    help: 'give every block its place in the file (VirtualBox calls it fixed size); otherwise only what is used is stored',
  },
  {
    key: 'uuid',
    type: 'text',
    default: '',
    check: checkUuid,
    help: "the image's UUID, of which VirtualBox refuses to know two; default: one that follows from content and options",
  },
];
