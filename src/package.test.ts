/** What `npm pack` makes, installed into an empty folder without a network: the command, the library, the types. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../', import.meta.url));
const image = join(root, 'test-images/mbrman-disk1.img');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const hasAddon = existsSync(join(root, 'native/dist/vdconv.node'));

let home: string;
let packed: string[];

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'vdconv-package-'));
  writeFileSync(join(home, 'package.json'), '{ "name": "user", "private": true, "type": "module" }');
  // Without prepack, which is `make build`: what the tests run is built already.
  const [{ filename, files }] = JSON.parse(
    run(root, 'npm', 'pack', '--json', '--ignore-scripts', '--pack-destination', home),
  );
  packed = files.map((file: { path: string }) => file.path);
  run(home, 'npm', 'install', '--offline', '--no-audit', '--no-fund', `./${filename}`);
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

test('holds what runs, and nothing else', () => {
  const allowed =
    /^(package\.json|README\.md|LICENSE|bin\/vdconv\.js|dist\/.+\.(js|d\.ts)|dist\/cli\/LICENSES\.txt|native\/dist\/vdconv\.node|native\/codecs\/pkg\/(package\.json|vdconv_codecs(_bg\.wasm)?(\.js|\.d\.ts)?))$/;
  expect(packed.filter((path) => !allowed.test(path) || /\.test\.|^dist\/testing\//.test(path))).toEqual([]);
  expect(packed).toEqual(
    expect.arrayContaining(['LICENSE', 'README.md', 'dist/index.d.ts', 'native/codecs/pkg/vdconv_codecs_bg.wasm']),
  );
});

test('installs alone, and runs nothing when it is installed', () => {
  const installed = Object.keys(JSON.parse(readFileSync(join(home, 'package-lock.json'), 'utf8')).packages);
  expect(installed).toEqual(['', 'node_modules/vdconv']);
  expect(Object.keys(manifest.scripts)).toEqual(
    expect.not.arrayContaining(['preinstall', 'install', 'postinstall', 'prepare']),
  );
  expect(manifest.scripts.prepack).toBe('make build');
});

test('the command says its version', () => {
  expect(vdconv({}, '--version')).toBe(`vdconv ${manifest.version}\n`);
});

test('the types are there', () => {
  writeFileSync(
    join(home, 'use.ts'),
    `import { convert, open, VdconvError, type ConvertResult } from 'vdconv';
     export async function use(): Promise<[ConvertResult, Uint8Array, boolean]> {
       const image = await open('a');
       // @ts-expect-error: an option that there is not
       await convert('a', 'b', { nonsense: true });
       return [await convert('a', 'b', { compress: true }), await image.read(0, 512), image instanceof VdconvError];
     }`,
  );
  const strict = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2023', '--types', 'node'];
  const types = ['--typeRoots', join(root, 'node_modules/@types')];
  run(home, process.execPath, join(root, 'node_modules/typescript/bin/tsc'), ...strict, ...types, 'use.ts');
});

const addon = hasAddon ? 'native' : 'portable';
describe.each([
  { title: 'as installed', env: {}, engine: addon },
  { title: 'asked for the portable engine', env: { VDCONV_ENGINE: 'portable' }, engine: 'portable' },
])('$title', ({ title, env, engine }) => {
  const name = title.replaceAll(' ', '-');

  test(`the engine is ${engine}`, () => {
    expect(vdconv(env, '--version', '--verbose')).toContain(`\nengine: ${engine} (`);
  });

  test.each(['plain', 'compressed'])('the command converts, the library reads it back: %s', (how) => {
    const [there, back] = [join(home, `${name}-${how}.qcow2`), join(home, `${name}-${how}.raw`)];
    vdconv(env, 'convert', ...(how === 'compressed' ? ['-c'] : []), image, there);
    writeFileSync(
      join(home, 'use.js'),
      `import { convert, open, version } from 'vdconv';
       const image = await open(${JSON.stringify(there)});
       const { engine } = await convert(${JSON.stringify(there)}, ${JSON.stringify(back)});
       const head = await image.read(0, 512);
       await image.close();
       console.log(JSON.stringify({ version, engine, format: image.format, head: Buffer.from(head).toString('hex') }));`,
    );
    const original = readFileSync(image);
    expect(JSON.parse(runWith(env, home, process.execPath, 'use.js'))).toEqual({
      version: manifest.version,
      engine,
      format: 'qcow2',
      head: original.subarray(0, 512).toString('hex'),
    });
    expect(readFileSync(back).equals(original)).toBe(true);
  });
});

test('without the addon it falls back to the portable engine', () => {
  rmSync(join(home, 'node_modules/vdconv/native/dist'), { recursive: true, force: true });
  expect(vdconv({}, '--version', '--verbose')).toContain('\nengine: portable (');
  const copy = join(home, 'copy.raw');
  vdconv({}, image, copy);
  expect(readFileSync(copy).equals(readFileSync(image))).toBe(true);
});

function vdconv(env: Record<string, string>, ...args: string[]): string {
  return runWith(env, home, join(home, 'node_modules/.bin/vdconv'), ...args);
}

function run(cwd: string, command: string, ...args: string[]): string {
  return runWith({}, cwd, command, ...args);
}

/** VDCONV_ENGINE is what `env` says, whatever this process was given. */
function runWith(env: Record<string, string>, cwd: string, command: string, ...args: string[]): string {
  const { VDCONV_ENGINE: _, ...rest } = process.env;
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    env: { ...rest, ...env },
    encoding: 'utf8',
  });
  expect(status, `${command} ${args.join(' ')}: ${error ?? ''}${stdout}${stderr}`).toBe(0);
  return stdout;
}
