/**
 * Formats that are recognised so that they are not taken for raw disks: what is inside them is no disk that a machine
 * could boot. By the bytes that their own programs look for.
 */
import type { Sample } from './format.ts';

interface Foreign {
  /** With its article, for the message. */
  name: string;
  matches(sample: Sample): boolean;
  /** What to do instead. */
  hint: string;
}

const QEMU_IMG = 'convert it with qemu-img first';

/** ISO 9660 §8: volume descriptors begin at sector 16 of 2048 bytes; their second to sixth byte is this. */
const ISO_DESCRIPTOR = 16 * 2048 + 1;
/** The last 512 bytes of a DMG. */
const DMG_TRAILER = 512;

const FOREIGN: readonly Foreign[] = [
  { name: 'a QED image', matches: begins('QED\0'), hint: QEMU_IMG },
  {
    name: 'a Parallels disk',
    matches: (sample) => begins('WithoutFreeSpace')(sample) || begins('WithouFreSpacExt')(sample),
    hint: QEMU_IMG,
  },
  { name: 'a QCOW image, version 1', matches: begins('QFI\xfb\0\0\0\x01'), hint: QEMU_IMG },
  { name: 'a Bochs disk', matches: begins('Bochs Virtual HD Image'), hint: QEMU_IMG },
  { name: 'a compressed loop image (cloop)', matches: begins('#!/bin/sh\n#V2.0 Format\n'), hint: QEMU_IMG },
  {
    name: 'a DMG of macOS',
    matches: ({ tail }) => hasText(tail, tail.length - DMG_TRAILER, 'koly'),
    hint: 'convert it with qemu-img or hdiutil first',
  },
  { name: 'an ASIF image of macOS', matches: begins('shdw'), hint: 'convert it with diskutil image first' },
  {
    name: 'an ISO 9660 image',
    matches: ({ head }) => hasText(head, ISO_DESCRIPTOR, 'CD001'),
    hint: 'a virtual machine takes it as it is, as a CD',
  },
];

/** @returns the first of them that the bytes are. */
export function foreignFormat(sample: Sample): { name: string; hint: string } | undefined {
  return FOREIGN.find((foreign) => foreign.matches(sample));
}

function begins(text: string): Foreign['matches'] {
  return ({ head }) => hasText(head, 0, text);
}

function hasText(bytes: Uint8Array, at: number, text: string): boolean {
  return at >= 0 && bytes.length >= at + text.length && [...text].every((c, i) => bytes[at + i] === c.charCodeAt(0));
}
