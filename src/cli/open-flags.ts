/** How images are opened: the flags that every command that reads them has, and what they mean to the library. */
import { escapeText, formatSize, type ImageSource, LIMITS, type OpenOptions, parseSize } from '../index.ts';
import { type Arguments, type Flag, usageError } from './flags.ts';
import { allowedDirectories, wholeNumber } from './values.ts';

/**
 * @param follows what the command opens beside the image, and where from: for the help.
 */
export function openFlags(follows: string): readonly Flag[] {
  const names = Object.entries(LIMITS)
    .map(([name, value]) => `${name} (${/Size|tables|descriptor/.test(name) ? formatSize(value) : value})`)
    .join(', ');
  return [
    { name: 'allow-references', value: '[DIR]', repeats: true, help: `${follows}. May be repeated` },
    { name: 'allow-device', help: 'read block devices too' },
    {
      name: 'limit',
      value: 'NAME=N',
      repeats: true,
      help: `take images beyond a limit, or fewer: ${names}`,
    },
    { name: 'connections', value: 'N', help: 'connections to a server that an image comes from; default 4' },
    {
      name: 'spool',
      value: 'DIR',
      help: "where temporary files go: what .gz, .xz, .zst and .bz2 files hold, and some pipes; default: the system's place",
    },
    { name: 'force-share', alias: 'U', help: 'read an image even while a virtual machine may be writing to it' },
  ];
}

/** Of commands that read all of a disk. */
export const MAX_OUTPUT_FLAG: Flag = {
  name: 'max-output',
  value: 'SIZE',
  help: 'read no more than SIZE of data; default: 1000 times the size of the image, and 1 GiB; 0: any amount',
};

/** qemu-img's `-l`, for every command that reads one image. */
export const SNAPSHOT_FLAG: Flag = {
  name: 'l',
  value: 'SNAPSHOT',
  help: 'the disk as an internal snapshot has it: its name or id, or snapshot.id=ID,snapshot.name=NAME',
};
/** `-`: standard input. */
export function imageNamed(name: string): ImageSource {
  return name === '-' ? { fd: 0 } : name;
}

/** @param images whose directories `--allow-references` means where it names none. */
export function openOptions(args: Arguments, ...images: readonly string[]): OpenOptions {
  return {
    allowReferences: allowedDirectories(args, ...images),
    allowDevice: args.has('allow-device'),
    forceShare: args.has('force-share'),
    snapshot: args.text(SNAPSHOT_FLAG.name),
    limits: limits(args),
    connections: wholeNumber(args, '', 'connections'),
    spool: args.text('spool'),
  };
}

/** Names and ranges are the library's to check. */
function limits(args: Arguments): Record<string, number> | undefined {
  const given = args.all('limit').map((text) => {
    const [, name = '', value = ''] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    if (name === '') {
      throw usageError('', `option --limit takes NAME=N, not '${escapeText(text)}'`);
    }
    return [name, parseSize(value, `--limit=${escapeText(name)}`)] as const;
  });
  return given.length === 0 ? undefined : Object.fromEntries(given);
}
