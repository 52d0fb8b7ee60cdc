/** LUKS, the disk encryption of Linux and QEMU: recognised and described, not decrypted. */
import type { Format } from '../format.ts';
import { MAGIC } from './layout.ts';
import { openLuks } from './reader.ts';

export const luks: Format = {
  name: 'luks',
  aliases: [],
  title: 'LUKS encrypted volume: described by info, not decrypted',
  extensions: ['luks'],
  probe: ({ head }) => head.length >= MAGIC.length && MAGIC.every((byte, i) => head[i] === byte),
  open: openLuks,
  options: [],
  compresses: false,
};
