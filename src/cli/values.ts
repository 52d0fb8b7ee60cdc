/** Arguments as the values that the library takes. Ranges are the library's to check. */
import { dirname } from 'node:path';
import { escapeText, parseSize } from '../index.ts';
import { type Arguments, dashed, usageError } from './flags.ts';

/** Exactly the named operands, in order. */
export function operands(args: Arguments, command: string, names: readonly string[]): string[] {
  const missing = names[args.operands.length];
  if (missing !== undefined) {
    throw usageError(command, `${missing} is missing`);
  }
  const extra = args.operands[names.length];
  if (extra !== undefined) {
    throw usageError(command, `one argument too many: '${escapeText(extra)}'`);
  }
  return args.operands;
}

export function wholeNumber(args: Arguments, command: string, name: string): number | undefined {
  const text = args.text(name);
  if (text !== undefined && !/^\d{1,9}$/.test(text)) {
    throw usageError(command, `option ${dashed(name)} takes a whole number, not '${escapeText(text)}'`);
  }
  return text === undefined ? undefined : Number(text);
}

export function choice<T extends string>(
  args: Arguments,
  command: string,
  name: string,
  choices: readonly T[],
): T | undefined {
  const text = args.text(name);
  const found = choices.find((candidate) => candidate === text);
  if (text !== undefined && found === undefined) {
    throw usageError(command, `option ${dashed(name)} takes ${choices.join(', ')}, not '${escapeText(text)}'`);
  }
  return found;
}

export function size(args: Arguments, name: string): number | undefined {
  const text = args.text(name);
  return text === undefined ? undefined : parseSize(text, dashed(name));
}

/** `--allow-references` without a value means the directory of each image itself. */
export function allowedDirectories(args: Arguments, ...images: readonly string[]): true | string[] | undefined {
  const given = args.all('allow-references');
  if (given.length === 0) {
    return undefined;
  }
  return given.every((directory) => directory === '')
    ? true
    : given.flatMap((directory) => directory || images.map((image) => dirname(image)));
}
