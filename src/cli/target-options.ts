/** `-o key=value[,key=value…]`, as qemu-img writes it. */
import { escapeText, VdconvError } from '../index.ts';

/**
 * Reads every `-o` in order; a key given twice takes the last value. `,,` is a comma inside a value; a key alone is `on`.
 */
export function parseTargetOptions(texts: readonly string[]): Record<string, string> {
  const options = new Map<string, string>();
  for (const text of texts) {
    for (const part of splitAtSingleCommas(text)) {
      const equals = part.indexOf('=');
      const key = (equals < 0 ? part : part.slice(0, equals)).trim();
      if (key === '') {
        throw new VdconvError('usage', `-o ${escapeText(text)}: write key=value[,key=value]`);
      }
      options.set(key, equals < 0 ? 'on' : part.slice(equals + 1));
    }
  }
  return Object.fromEntries(options);
}

function splitAtSingleCommas(text: string): string[] {
  // NUL, which no argument can hold, stands for a doubled comma in between.
  return text
    .replaceAll(',,', '\0')
    .split(',')
    .map((part) => part.replaceAll('\0', ','));
}
