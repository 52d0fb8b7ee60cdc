/** Reads the arguments of one command by its table of flags. The same table makes the help. */
import { escapeText, VdconvError } from '../base/errors.ts';

export interface Flag {
  /** One letter (`-f`) or a word (`--force`). */
  name: string;
  /** A second name for the same. */
  alias?: string;
  /** What its value is called; absent: the flag takes none. In brackets: the value may be left out (`--name=VALUE` only). */
  value?: string;
  /** May be given more than once. */
  repeats?: boolean;
  /** For the help; absent: accepted, not shown. */
  help?: string;
}

export interface Arguments {
  operands: string[];
  has(name: string): boolean;
  /** The value of a flag that does not repeat. */
  text(name: string): string | undefined;
  /** Every value of a flag that repeats, in order; '' where an optional value was left out. */
  all(name: string): string[];
}

/** An error in the command line: one line that ends in where to read on. */
export function usageError(command: string, what: string): VdconvError {
  return new VdconvError('usage', what, { hint: `see vdconv ${command === '' ? '' : `${command} `}--help` });
}

/** @param command the command's name as the help is asked for. */
export async function parseFlags(argv: readonly string[], command: string, flags: readonly Flag[]): Promise<Arguments> {
  const { default: yargs } = await import('yargs');
  const values: Record<string, unknown> = await yargs(spellOut(argv, command, flags))
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'greedy-arrays': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
    })
    .options(
      Object.fromEntries(
        flags.map(({ name, value }) => [name, value === undefined ? { boolean: true } : { string: true }]),
      ),
    )
    .help(false)
    .version(false)
    .exitProcess(false)
    .parse();
  const given = new Map<string, unknown[]>();
  for (const [name, value] of Object.entries(values)) {
    if (name !== '_' && name !== '$0' && value !== undefined) {
      given.set(name, [value].flat());
    }
  }
  for (const [name, list] of given) {
    checkFlag(command, name, list, flags);
  }
  const all = (name: string) => (given.get(name) ?? []).map(String);
  return {
    operands: (values._ as unknown[]).map(String),
    has: (name) => given.has(name),
    text: (name) => all(name)[0],
    all,
  };
}

function checkFlag(command: string, name: string, list: readonly unknown[], flags: readonly Flag[]): void {
  const flag = flags.find((candidate) => candidate.name === name);
  if (flag === undefined) {
    throw usageError(command, `unknown option '${escapeText(dashed(name))}'`);
  }
  if (flag.value !== undefined && !isOptional(flag) && list.includes('')) {
    throw usageError(command, `option ${dashed(name)} needs a value: ${dashed(name)} ${flag.value}`);
  }
  if (list.length > 1 && flag.value !== undefined && flag.repeats !== true) {
    throw usageError(command, `option ${dashed(name)} is given twice`);
  }
}

export function dashed(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`;
}

export function isOptional(flag: Flag): boolean {
  return flag.value?.startsWith('[') === true;
}

/**
 * What getopt does and yargs does not: `-Oqcow2` and `-cOqcow2` are values, the word after a flag that needs a value is
 * its value even when it begins with `-`, and an optional value never takes the next word. Aliases become names.
 */
export function spellOut(argv: readonly string[], command: string, flags: readonly Flag[]): string[] {
  const byName = new Map(flags.flatMap((flag) => [flag.name, flag.alias ?? flag.name].map((name) => [name, flag])));
  const out: string[] = [];
  for (let i = 0; i < argv.length; i += 1) {
    const word = argv[i] as string;
    if (word === '--') {
      return [...out, ...argv.slice(i)];
    }
    const [, long, value] = /^--([^=]+)(=.*)?$/s.exec(word) ?? [];
    if (long !== undefined) {
      const flag = byName.get(long);
      if (flag !== undefined && flag.value === undefined && value !== undefined) {
        throw usageError(command, `option --${long} takes no value`);
      }
      const bare = flag?.value !== undefined && value === undefined;
      out.push(bare ? `${word}=${isOptional(flag) ? '' : (argv[++i] ?? '')}` : word);
    } else if (/^-[^-]/.test(word)) {
      const letters = word.slice(1);
      const at = [...letters].findIndex((letter) => byName.get(letter)?.value !== undefined);
      for (const letter of at < 0 ? letters : letters.slice(0, at)) {
        out.push(dashed(byName.get(letter)?.name ?? letter));
      }
      if (at >= 0) {
        out.push(`-${letters[at]}=${letters.slice(at + 1) || (argv[++i] ?? '')}`);
      }
    } else {
      out.push(word);
    }
  }
  return out;
}
