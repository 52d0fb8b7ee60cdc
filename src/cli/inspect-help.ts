/** Help texts of the commands that look at images: `map`, `compare` and `check`. */
import type { Flag } from './flags.ts';
import { columns, flagRows, formatRows } from './help.ts';

export function mapHelp(flags: readonly Flag[]): string {
  return `vdconv map says where each byte of an image's virtual disk lies.

Usage:
  vdconv map [options] IMAGE

Options:
${columns(flagRows(flags))}
Kinds:
${columns([
  ['data', 'plain bytes in FILE at OFFSET'],
  ['compressed', 'one compressed unit in FILE at OFFSET'],
  ['zero', 'zeros, because the image says so'],
  ['unallocated', 'zeros, because no layer says anything'],
])}
Depth is the layer that decides, 0 for IMAGE itself. In JSON, compressed
entries also have storedLength (at most so many bytes are stored), skip (bytes
of the decoded unit before start), codec (zlib; deflate without its header;
zstd) and framing (grain-marker: VMDK's 12 bytes before the stream, the last
four of them its exact length).

Examples:
  vdconv map disk.vmdk
  vdconv map --output=json disk.qcow2
  vdconv map --allow-references snapshot.qcow2

Formats:
${columns(formatRows())}`;
}

export function compareHelp(flags: readonly Flag[]): string {
  return `vdconv compare says whether two images hold the same virtual disk.

Usage:
  vdconv compare [options] A B

Options:
${columns(flagRows(flags))}
Also accepted, as qemu-img's, without effect: -T CACHE.
Formats may differ, and so may what is allocated. Where one disk is longer, its
rest must be zeros.

Examples:
  vdconv compare disk.vmdk disk.qcow2
  vdconv compare -f raw -F qcow2 disk.img disk.qcow2
  vdconv compare -s --output=json disk.img copy.img

Formats:
${columns(formatRows())}
Exit status:
  0 the same disk                         5 refused by policy; the message
  1 they differ                             names the flag that allows it
  2 wrong usage                           6 an image changed while it was read
  3 an image is damaged, truncated,       8 over a limit
    unreadable or not supported           129, 130, 143 stopped by a signal
`;
}

export function digestHelp(flags: readonly Flag[]): string {
  return `vdconv digest prints a hash of an image's virtual disk, the same for every format.

Usage:
  vdconv digest [options] IMAGE

Options:
${columns(flagRows(flags))}
blkhash-sha256/SIZE is SHA-256 over the SHA-256 of each block of SIZE bytes and
the disk's length (u64, little-endian): all cores hash, zeros are not read. It is
what nbdcopy --blkhash prints. sha256 is what sha256sum of a raw copy prints.

Examples:
  vdconv digest disk.qcow2
  vdconv digest --algorithm sha256 disk.vmdk
  vdconv digest --output=json --allow-references overlay.qcow2

Formats:
${columns(formatRows())}`;
}

export function checkHelp(flags: readonly Flag[]): string {
  return `vdconv check says whether an image keeps the rules of its format: structure,
checksums, reference counts, places that overlap or lie outside the file.

Usage:
  vdconv check [options] IMAGE

Options:
${columns(flagRows(flags))}
Also accepted, as qemu-img's, without effect: -T CACHE.
IMAGE is never changed, and its parents are not looked at. QCOW2's corruptions
and leaks are counted as qemu-img counts them. All findings are counted, the
first 1000 are shown.

Examples:
  vdconv check disk.qcow2
  vdconv check --output=json disk.vmdk
  vdconv check --allow-references split.vmdk

Formats:
${columns(formatRows())}
Exit status, as qemu-img check's:
  0 no errors                             3 leaks only: space is wasted
  1 it could not be checked, or usage     63 the format has nothing to check
  2 corrupt                               129, 130, 143 stopped by a signal
`;
}
