/** Help texts, from the same tables that the parser and the registry of formats use. */
import { escapeText, formats } from '../index.ts';
import { dashed, type Flag, isOptional, usageError } from './flags.ts';

const WIDTH = 80;

/** Rows of two columns; the second wraps under itself. */
export function columns(rows: readonly (readonly [string, string])[]): string {
  const indent = Math.min(30, Math.max(...rows.map(([left]) => left.length)) + 4);
  return rows
    .map(([left, right]) => {
      const lines = wrap(right, WIDTH - indent);
      const head = `  ${left}`;
      const first = head.length < indent ? `${head.padEnd(indent)}${lines.shift() ?? ''}` : head;
      return [first, ...lines.map((line) => ' '.repeat(indent) + line)].map((line) => `${line.trimEnd()}\n`).join('');
    })
    .join('');
}

function wrap(text: string, width: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) as string;
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(word);
    } else {
      lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
    }
  }
  return lines;
}

export function flagRows(flags: readonly Flag[]): (readonly [string, string])[] {
  return flags
    .filter((flag) => flag.help !== undefined)
    .map((flag) => {
      const names = [flag.name, flag.alias].filter((name) => name !== undefined).map(dashed);
      return [`${names.join(', ')}${metavar(flag)}`, flag.help ?? ''];
    });
}

function metavar(flag: Flag): string {
  if (flag.value === undefined) {
    return '';
  }
  return isOptional(flag) ? `[=${flag.value.slice(1)}` : `${flag.name.length === 1 ? ' ' : '='}${flag.value}`;
}

export function formatRows(): (readonly [string, string])[] {
  const rows = formats().map((format) => {
    const also = format.aliases.length === 0 ? '' : ` (also -f ${format.aliases.join(', ')})`;
    return [format.name, `${format.title}${format.writes ? '' : '; read only'}${also}`] as const;
  });
  const whole = 'any of them compressed with gzip, xz, zstd or bzip2: read, by content (-f raw: by name)';
  return [...rows, ['*.gz, …', whole]];
}

/** `-o help`: what a format takes when it is written; every format where none is named. */
export function targetOptionHelp(name: string | undefined): string {
  const which = formats().filter((format) => name === undefined || [format.name, ...format.aliases].includes(name));
  if (which.length === 0) {
    throw usageError('convert', `no format is called '${escapeText(name ?? '')}'`);
  }
  return which
    .filter((format) => format.writes || name !== undefined)
    .map((format) => {
      const rows = format.options.map((option) => {
        const choices = option.choices === undefined ? '' : ` (${option.choices.join(', ')})`;
        return [
          `${option.key}=${option.type.toUpperCase()}`,
          `${option.help}${choices}${option.default === '' ? '' : `; default ${option.default}`}`,
        ] as const;
      });
      return `Options of ${format.name}:\n${rows.length === 0 ? '  none\n' : columns(rows)}`;
    })
    .join('\n');
}

export function mainHelp(): string {
  return `vdconv converts virtual machine disk images between formats.

Usage:
  vdconv IN OUT                    convert; formats by content and by OUT's name
  vdconv convert [options] IN OUT  convert with options: vdconv convert --help
  vdconv info [options] IMAGE      what an image is: vdconv info --help
  vdconv map [options] IMAGE       where its bytes lie: vdconv map --help
  vdconv compare [options] A B     is it the same disk: vdconv compare --help
  vdconv digest [options] IMAGE    its disk's hash: vdconv digest --help
  vdconv measure [options] IN      how large OUT would be: vdconv measure --help
  vdconv create [options] OUT SIZE an empty image or layer: vdconv create --help
  vdconv check [options] IMAGE     is it sound: vdconv check --help

Examples:
  vdconv disk.vmdk disk.qcow2
  vdconv convert -c disk.img small.qcow2
  vdconv compare disk.vmdk disk.qcow2

Formats:
${columns(formatRows())}
Other options:
${columns([
  ['--help', 'this text'],
  ['--version', 'the version; with --verbose also which engine runs, and why'],
])}
OUT appears under its name only when it is complete. IN is never changed.
`;
}

export function convertHelp(flags: readonly Flag[]): string {
  return `vdconv convert makes a new disk image with the content of another one.

Usage:
  vdconv convert [options] IN OUT    OUT may be -, standard output

Options:
${columns(flagRows(flags))}
Also accepted, as qemu-img's, without effect: -W -C -t CACHE -T CACHE.
Sizes take k, M, G and T, 1024-based: 64k is 65536.

Examples:
  vdconv convert -c disk.qcow2 stream-optimized.vmdk
  vdconv convert disk.vmdk - -O qcow2 | ssh host 'cat > disk.qcow2'
  vdconv convert --allow-references -c snapshot.qcow2 whole.qcow2

Formats:
${columns(formatRows())}
Exit status:
  0 done                                  5 refused by policy; the message
  1 other failure                           names the flag that allows it
  2 wrong usage, or OUT exists            6 IN changed while it was read
  3 IN is damaged, truncated,             7 IN is in use
    unreadable or not supported           8 over a limit
  4 OUT could not be written              129, 130, 143 stopped by SIGHUP,
                                            SIGINT, SIGTERM
`;
}

export function infoHelp(flags: readonly Flag[]): string {
  return `vdconv info says what a disk image is: format, sizes, what it refers to.

Usage:
  vdconv info [options] IMAGE

Options:
${columns(flagRows(flags))}
Examples:
  vdconv info disk.vmdk
  vdconv info --output=json disk.qcow2
  vdconv info -f raw disk.img

Formats:
${columns(formatRows())}`;
}
