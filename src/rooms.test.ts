/**
 * What design and CONTRIBUTING.md say of the source, checked: the rooms and the one direction of imports, file sizes,
 * dependencies with their reasons, the specification that each layout.ts follows, shifts that lose high bits, and that
 * nothing names a machine that it was written on.
 * Every message names the file, the line and the rule.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, posix, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** From the top down: a room imports only from itself and from rooms below it. */
const ROOMS = ['cli', 'index', 'targets', 'ops', 'formats', 'engine', 'map', 'io', 'base'];

/** The most lines of a file, and of the middle one of all files (tests apart). */
const MAX_LINES = 500;
const MAX_MEDIAN_LINES = 180;

interface Source {
  /** From the repository's root, with slashes. */
  path: string;
  text: string;
  /** `text` with comments blanked out: same length, same lines. */
  code: string;
  isTest: boolean;
}

interface Import {
  from: Source;
  line: number;
  specifier: string;
  typeOnly: boolean;
  /** Path of the imported file from the root; undefined for a package or a Node module. */
  target: string | undefined;
}

const sources: Source[] = filesBelow('src', '.ts').map((path) => {
  const text = readFileSync(join(root, path), 'utf8');
  return { path, text, code: blankComments(text), isTest: isTest(path) };
});
const product = sources.filter((s) => !s.isTest);
const productImports: Import[] = product.flatMap(importsOf);

test('a room imports only from rooms below it', () => {
  for (const source of product) {
    expect(ROOMS, `${source.path}: every file of src/ lies in one of the rooms`).toContain(roomOf(source.path));
  }
  report(
    productImports
      .filter(
        (i) => i.target?.startsWith('src/') && ROOMS.indexOf(roomOf(i.from.path)) > ROOMS.indexOf(roomOf(i.target)),
      )
      .map((i) => `${at(i)}: ${roomOf(i.from.path)} lies below ${roomOf(i.target as string)} (${ROOMS.join(' > ')})`),
  );
});

test('the command line uses the library, and of the rooms below it only base', () => {
  report(
    productImports
      .filter((i) => roomOf(i.from.path) === 'cli' && i.target !== undefined)
      .filter((i) => !['cli', 'index', 'base'].includes(roomOf(i.target as string)) && i.target !== 'package.json')
      .map((i) => `${at(i)}: src/cli imports only src/index.ts and base`),
  );
  const command = join(root, 'bin/vdconv.js');
  if (existsSync(command)) {
    const lines = readFileSync(command, 'utf8').split('\n');
    const code = lines.filter((line) => line.trim() !== '' && !/^\s*(\/\/|\/\*|\*)/.test(line));
    expect(code[0], 'bin/vdconv.js: begins with a shebang').toBe('#!/usr/bin/env node');
    expect(code.slice(1), 'bin/vdconv.js: is a shebang and one import').toEqual([expect.stringMatching(/\bimport\b/)]);
  }
});

/** What formats share: their contract, and what its members are. */
const CONTRACT = ['src/formats/format.ts', 'src/formats/check.ts', 'src/formats/metadata.ts'];

test('formats are pure: map, base and types of io; no other format, no Node module', () => {
  const problems: string[] = [];
  for (const i of productImports.filter((i) => formatOf(i.from.path) !== undefined)) {
    const own = `src/formats/${formatOf(i.from.path)}/`;
    if (i.target === undefined) {
      problems.push(`${at(i)}: a format imports no package and no Node module`);
    } else if (i.target.startsWith('src/formats/') && !CONTRACT.includes(i.target) && !i.target.startsWith(own)) {
      problems.push(`${at(i)}: a format imports no other format and not the registry`);
    } else if (roomOf(i.target) === 'io' && !i.typeOnly) {
      problems.push(`${at(i)}: a format imports only types from io (import type)`);
    } else if (!['formats', 'map', 'io', 'base'].includes(roomOf(i.target))) {
      problems.push(`${at(i)}: a format imports only map, base and types of io`);
    }
  }
  report(problems);
});

test('map and base run anywhere: no Node module', () => {
  report(
    productImports
      .filter((i) => ['map', 'base'].includes(roomOf(i.from.path)) && i.target === undefined)
      .map((i) => `${at(i)}: formats stand on this room, and run without Node`),
  );
});

test('only the registry imports formats, and only ops imports the registry', () => {
  const registry = 'src/formats/registry.ts';
  const problems: string[] = [];
  for (const i of productImports) {
    const format = i.target === undefined ? undefined : formatOf(i.target);
    if (format !== undefined && formatOf(i.from.path) !== format && i.from.path !== registry) {
      problems.push(`${at(i)}: only ${registry} imports a format`);
    }
    if (i.target === registry && roomOf(i.from.path) !== 'ops') {
      problems.push(`${at(i)}: only src/ops imports the registry`);
    }
    if (i.target === 'src/formats/format.ts' && !['ops', 'formats', 'targets', 'index'].includes(roomOf(i.from.path))) {
      problems.push(`${at(i)}: the contract of formats is for formats and ops`);
    }
  }
  const contract = sources.find((s) => s.path === 'src/formats/format.ts');
  for (const i of contract === undefined ? [] : importsOf(contract)) {
    if (i.target === registry || (i.target !== undefined && formatOf(i.target) !== undefined)) {
      problems.push(`${at(i)}: the contract imports no format and not the registry`);
    }
  }
  report(problems);
});

test('engine/native.ts is the only file that names the addon', () => {
  report(
    product
      .filter((s) => s.path !== 'src/engine/native.ts')
      .flatMap((s) => matches(s, /native\/(dist|addon|target)|['"`][^'"`\n]*\.node['"`]/g))
      .map((where) => `${where}: only src/engine/native.ts names the addon`),
  );
});

test('src/testing is imported only by tests', () => {
  report(
    productImports
      .filter((i) => i.target?.startsWith('src/testing/') || i.target?.endsWith('.test.ts'))
      .map((i) => `${at(i)}: only tests import src/testing and tests`),
  );
});

test('every import of a file exists and says its ending', () => {
  report(
    productImports
      .filter((i) => i.target !== undefined && !/^(dist|native\/dist)\//.test(i.target))
      .filter((i) => !existsSync(join(root, i.target as string)) || !/\.[cm]?[jt]s$|\.json$/.test(i.target as string))
      .map((i) => `${at(i)}: there is no such file`),
  );
});

test(`files stay small: none over ${MAX_LINES} lines, the median at most ${MAX_MEDIAN_LINES}`, () => {
  const rust = ['native/core', 'native/addon', 'native/codecs']
    .filter((dir) => existsSync(join(root, dir)))
    .flatMap((dir) => filesBelow(dir, '.rs'))
    .filter((path) => !/\/(tests|benches|target|fuzz)\//.test(path))
    .map((path) => {
      const text = readFileSync(join(root, path), 'utf8');
      const tests = text.search(/^#\[cfg\(test\)\]\nmod \w+ \{/m); // a module of tests at the end of the file
      return { path, lines: lineCount(tests < 0 ? text : text.slice(0, tests)) };
    });
  const typescript = product.map((s) => ({ path: s.path, lines: lineCount(s.text) }));
  const all = [...typescript, ...rust];
  report(
    all.filter((f) => f.lines > MAX_LINES).map((f) => `${f.path}: ${f.lines} lines; no file has over ${MAX_LINES}`),
  );
  for (const [language, files] of Object.entries({ TypeScript: typescript, Rust: rust })) {
    const sorted = files.map((f) => f.lines).sort((a, b) => a - b);
    const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
    expect(median, `the median of ${language} files is at most ${MAX_MEDIAN_LINES} lines`).toBeLessThanOrEqual(
      MAX_MEDIAN_LINES,
    );
  }
});

test('every dependency has its reason in CONTRIBUTING.md, and none is listed that is not used', () => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const npm = (key: string): string[] => Object.keys(manifest[key] ?? {}).sort();
  const cargo = filesBelow('native', 'Cargo.toml').flatMap((path) => cargoDependencies(join(root, path)));
  const bundled = new Set(productPackages().map(({ name }) => name));
  const want = {
    'npm, inside the command': npm('devDependencies').filter((name) => bundled.has(name)),
    'npm, for development': npm('devDependencies').filter((name) => !bundled.has(name)),
    cargo: [...new Set(cargo)].sort(),
  };
  const text = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8');
  for (const [title, names] of Object.entries(want)) {
    const section = text.split(`### Dependencies: ${title}\n`)[1]?.split(/^#/m)[0] ?? '';
    const rows = [...section.matchAll(/^\| `([^`]+)` \|(.*)\|$/gm)];
    expect(rows.map((row) => row[1]).sort(), `CONTRIBUTING.md, Dependencies: ${title}`).toEqual(names);
    for (const row of rows) {
      expect(row[2]?.trim().length, `CONTRIBUTING.md: ${row[1]} has a reason`).toBeGreaterThan(10);
    }
  }
  expect(
    [...npm('dependencies'), ...npm('optionalDependencies')],
    'package.json: who installs vdconv gets vdconv',
  ).toEqual([]);
  for (const [name, version] of Object.entries(manifest.devDependencies)) {
    expect(version, `package.json: ${name} has an exact version`).toMatch(/^\d+\.\d+\.\d+(-[\w.]+)?$/);
  }
});

test('only the command imports packages: they are built into it, the library has none', () => {
  const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  report([
    ...productPackages()
      .filter(({ from }) => roomOf(from.from.path) !== 'cli')
      .map(({ from }) => `${at(from)}: only src/cli imports a package`),
    ...productPackages()
      .filter(({ name }) => !Object.hasOwn(devDependencies, name))
      .map(({ from }) => `${at(from)}: not in package.json`),
  ]);
});

test('no text names a folder of the machine that it was written on', (context) => {
  const git = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], { cwd: root });
  if (git.status !== 0) {
    context.skip('not a git repository: which files are its own cannot be told');
  }
  // This checkout, its reader's home, and the top folder of both where that is no usual one.
  const top = (path: string): string[] => path.match(/^\/(?!(?:home|Users|tmp|usr|var|opt|srv|mnt)\/)\w+(?=\/)/) ?? [];
  const own = [root, homedir()].flatMap((path) => [path, ...top(path)]).filter((path) => path.length > 1);
  const folders = new RegExp(`(?<![\\w.~/-])(?:${own.map((path) => path.replace(/[^\w/-]/g, '\\$&')).join('|')})/\\w`);
  const problems: string[] = [];
  for (const path of String(git.stdout).split('\0')) {
    const bytes = path !== '' && existsSync(join(root, path)) ? readFileSync(join(root, path)) : Buffer.alloc(0);
    const lines = bytes.includes(0) ? [] : bytes.toString().split('\n');
    problems.push(...lines.flatMap((line, i) => (folders.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : [])));
  }
  report(problems);
});

test('every layout.ts of a format cites its specification', () => {
  report(
    product
      .filter((s) => formatOf(s.path) !== undefined && s.path.endsWith('/layout.ts') && !/Spec: \S+/.test(s.text))
      .map((s) => `${s.path}: has no line "Spec: NAME VERSION"`),
  );
});

test('no shift loses the high bits of an offset', () => {
  // `x << 32` is `x << 0` for a number, and `x >>> 0` cuts at 4 GiB. A 32-bit value (a checksum) may say so: "// u32".
  report(
    product.flatMap((s) => [
      ...matches(s, /<<=?\s*(?:3[2-9]|[4-9]\d)\b(?!n)/g).map(
        (where) => `${where}: a number cannot be shifted by 32 or more`,
      ),
      ...matches(s, />>>=?\s*0\b/g, /\/\/ u32\b/).map(
        (where) => `${where}: cuts at 32 bits; a 32-bit value says "// u32"`,
      ),
    ]),
  );
});

test('the scanner of this test sees what it must', () => {
  const text = [
    "import type { A } from './a.ts';",
    "import { b } from '../base/b.ts'; // import { no } from './comment.ts'",
    "export * from './c.ts';",
    "export type { D } from './d.ts';",
    "/* import './block.ts' */ import './side.ts';",
    "const e = await import('./e.ts');",
    "const s = \"import { no } from 'string'\" + '// not a comment';",
    'import {',
    '  type F,',
    '  g,',
    "} from 'node:fs';",
    "const r = /'\\/\\*/; const t: import('./t.ts').T = r;",
  ].join('\n');
  const found = importsOf({ path: 'src/map/x.ts', text, code: blankComments(text), isTest: false });
  expect(found.map((i) => [i.line, i.specifier, i.typeOnly, i.target])).toEqual([
    [1, './a.ts', true, 'src/map/a.ts'],
    [2, '../base/b.ts', false, 'src/base/b.ts'],
    [3, './c.ts', false, 'src/map/c.ts'],
    [4, './d.ts', true, 'src/map/d.ts'],
    [5, './side.ts', false, 'src/map/side.ts'],
    [6, './e.ts', false, 'src/map/e.ts'],
    [8, 'node:fs', false, undefined],
    [12, './t.ts', false, 'src/map/t.ts'],
  ]);
});

/** The imports of packages, by the package's name. */
function productPackages(): { name: string; from: Import }[] {
  return productImports
    .filter((i) => i.target === undefined && !i.specifier.startsWith('node:'))
    .map((from) => ({ name: /^(?:@[^/]+\/)?[^/]+/.exec(from.specifier)?.[0] ?? '', from }));
}

/** `src/ops/info.ts` is in the room `ops`, `src/index.ts` in `index`; what lies outside src/ is in none. */
function roomOf(path: string): string {
  return /^src\/([^/]+?)(?:\.ts|\/.*)$/.exec(path)?.[1] ?? `(none: ${path})`;
}

/** The format whose folder holds the file. */
function formatOf(path: string): string | undefined {
  return /^src\/formats\/([^/]+)\//.exec(path)?.[1];
}

function isTest(path: string): boolean {
  return path.endsWith('.test.ts') || path.startsWith('src/testing/');
}

function at(i: Import): string {
  return `${i.from.path}:${i.line}: imports '${i.specifier}'`;
}

function report(problems: string[]): void {
  expect(problems, problems.join('\n')).toEqual([]);
}

function lineCount(text: string): number {
  return text.split('\n').length - (text.endsWith('\n') ? 1 : 0);
}

/** The places in a file where a pattern occurs outside comments, as `path:line`; not on lines that say `unless`. */
function matches(source: Source, pattern: RegExp, unless?: RegExp): string[] {
  const lines = source.text.split('\n');
  return [...source.code.matchAll(pattern)]
    .map((match) => lineCount(source.code.slice(0, match.index + 1)))
    .filter((line) => unless === undefined || !unless.test(lines[line - 1] ?? ''))
    .map((line) => `${source.path}:${line}`);
}

function importsOf(from: Source): Import[] {
  const found: Import[] = [];
  const add = (index: number, specifier: string, typeOnly: boolean): void => {
    const relativeTo = specifier.startsWith('.') ? posix.join(posix.dirname(from.path), specifier) : undefined;
    found.push({ from, line: lineCount(from.code.slice(0, index + 1)), specifier, typeOnly, target: relativeTo });
  };
  // Statements begin a line or follow `;` or a comment; what is quoted in a string does not.
  const statement = /(?<=^|;)[ \t]*(import|export)\b(?:([^'"`;()]*?)\bfrom\b)?\s*(['"])([^'"\n]+)\3/gm;
  for (const match of from.code.matchAll(statement)) {
    const clause = match[2] ?? '';
    const start = match.index + match[0].search(/\S/);
    add(start, match[4] as string, /^\s*type\b(?!\s*,|\s+from\b)/.test(clause));
  }
  for (const match of from.code.matchAll(/\b(?:import|require)\s*\(\s*(['"`])([^'"`\n]+)\1/g)) {
    add(match.index, match[2] as string, false);
  }
  return found.sort((a, b) => a.line - b.line);
}

/** Comments become spaces; strings, templates and regular expressions that hold `//` or `/*` are left alone. */
function blankComments(text: string): string {
  const token =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\[\s\S])*`|(?<=[=(,:;!&|?{}[\n+]\s*)\/(?![*/])(?:[^/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\//g;
  return text.replace(token, (t) => (t.startsWith('//') || t.startsWith('/*') ? t.replace(/[^\n]/g, ' ') : t));
}

/** Names below [dependencies], [dev-dependencies], [build-dependencies] and [workspace.dependencies], own crates apart. */
function cargoDependencies(path: string): string[] {
  const names: string[] = [];
  let inside = false;
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const header = /^\[(.+)\]\s*(?:#.*)?$/.exec(line)?.[1];
    if (header !== undefined) {
      inside = /(^|\.)(dev-|build-)?dependencies$/.test(header);
      const table = /(?:^|\.)(?:dev-|build-)?dependencies\.([\w-]+)$/.exec(header)?.[1];
      if (table !== undefined) {
        names.push(table);
      }
      continue;
    }
    const entry = inside ? /^([\w-]+)(?:\.\w+)?\s*=\s*(.*)$/.exec(line) : null;
    if (entry !== null && !/\bpath\s*=/.test(entry[2] as string)) {
      names.push(entry[1] as string);
    }
  }
  return names.filter((name) => !name.startsWith('vdconv'));
}

function filesBelow(folder: string, ending: string): string[] {
  const base = join(root, folder);
  if (!existsSync(base)) {
    return [];
  }
  return readdirSync(base, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .filter((path) => !/(^|\/)(node_modules|target|pkg)\//.test(path))
    .sort();
}
