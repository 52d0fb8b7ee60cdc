/** Raw disks: guest byte n is file byte n. No header, so nothing can be wrong with one and every file is one. */
import type { Format } from '../format.ts';
import { openRaw } from './reader.ts';
import { planRaw } from './writer.ts';

export const raw: Format = {
  name: 'raw',
  aliases: [],
  title: 'Raw disk: the bytes the guest sees, nothing else',
  extensions: ['raw', 'img', 'dd', 'bin'],
  // Always: the registry asks this format last.
  probe: () => true,
  open: openRaw,
  options: [],
  compresses: false,
  plan: planRaw,
};
