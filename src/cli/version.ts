/** `vdconv --version`: with --verbose also the engine, and why it is this one. */
import { escapeText } from '../base/errors.ts';
import { version } from '../base/version.ts';

export async function printVersion(verbose: boolean): Promise<string> {
  if (!verbose) {
    return `vdconv ${version}\n`;
  }
  const { engineName } = await import('../index.ts');
  const { name, why } = await engineName();
  return [
    `vdconv ${version}`,
    `engine: ${name} (${escapeText(why)})`,
    `node: ${process.version} on ${process.platform} ${process.arch}`,
    '',
  ].join('\n');
}
