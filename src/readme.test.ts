/** Holds README.md to the source: its tables of formats and commands say what there is. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { FORMATS } from './formats/registry.ts';

const text = (path: string) => readFileSync(fileURLToPath(new URL(path, import.meta.url)), 'utf8');
const readme = text('../README.md');

/** The cells of the table below a heading. */
function tableUnder(heading: string): string[][] {
  const section = readme.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('|'));
  return rows.slice(2).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const codes = (cell: string | undefined) => [...(cell ?? '').matchAll(/`([^`]+)`/g)].map((match) => match[1] as string);

describe('the table of formats', () => {
  const rows = tableUnder('Formats');

  test('has a row for each format, in any order, and no other', () => {
    expect(rows.map((row) => codes(row[0])[0]).sort()).toEqual(FORMATS.map(({ name }) => name).sort());
  });

  test.for(FORMATS)('names the options of $name, all of them and no other', ({ name, options, extensions }) => {
    const row = rows.find((cells) => codes(cells[0])[0] === name);
    expect(codes(row?.[3]).sort()).toEqual(options.map(({ key }) => key).sort());
    const endings = codes(row?.[0]).slice(1);
    expect(endings.length).toBeGreaterThan(0);
    for (const ending of endings) {
      expect(extensions).toContain(ending.replace(/^\./, ''));
    }
  });

  test.for(FORMATS)('says of every subformat of $name that is written that it is', ({ name, options }) => {
    const row = rows.find((cells) => codes(cells[0])[0] === name);
    for (const subformat of options.find(({ key }) => key === 'subformat')?.choices ?? []) {
      expect(row?.[2]).toContain(subformat);
    }
  });
});

test('the table of commands has a row for each command', () => {
  const commands = [...text('cli/main.ts').matchAll(/^ {2}([a-z]+): async \(argv/gm)].map(
    (match) => match[1] as string,
  );
  expect(commands.length).toBeGreaterThan(5);
  const rows = tableUnder('Use').map((row) => codes(row[0])[0] ?? '');
  expect(rows.sort()).toEqual(['vdconv IN OUT', ...commands.map((command) => `vdconv ${command}`)].sort());
});
