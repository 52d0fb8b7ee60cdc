/** Help texts of the commands that go with `convert`: `measure` and `create`. */
import type { Flag } from './flags.ts';
import { columns, flagRows, formatRows } from './help.ts';

export function measureHelp(flags: readonly Flag[]): string {
  return `vdconv measure says how many bytes a conversion would write.

Usage:
  vdconv measure [options] -O FMT IN
  vdconv measure [options] -O FMT --size SIZE

Options:
${columns(flagRows(flags))}
The required size is exact: IN is read, and compressed where -c asks for it, as
convert with the same options does. With --fast nothing but metadata is read and
the size is an upper bound; compressed outputs are then measured as plain ones.

Examples:
  vdconv measure -O qcow2 disk.vmdk
  vdconv measure -O vhd -o subformat=fixed --output=json disk.qcow2
  vdconv measure -O qcow2 --size 100G

Formats:
${columns(formatRows())}`;
}

export function createHelp(flags: readonly Flag[]): string {
  return `vdconv create makes an empty image, or an empty layer over another image.

Usage:
  vdconv create [options] OUT SIZE
  vdconv create [options] -b BASE OUT [SIZE]

Options:
${columns(flagRows(flags))}
SIZE takes k, M, G and T, 1024-based. Over a base it is the base's by default.

Examples:
  vdconv create disk.qcow2 100G
  vdconv create -o cluster_size=2M,preallocation=metadata disk.qcow2 1T
  vdconv create -b base.qcow2 -F qcow2 layer.qcow2

Formats:
${columns(formatRows())}`;
}
