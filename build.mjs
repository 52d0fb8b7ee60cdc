// `npm run build`: dist/ from src/. The library: modules with their types, by tsc. The command: one file and parts that
// are loaded when needed, with the packages it uses inside, by esbuild: a start that reads fifty files is a slow start.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join, posix, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build as bundle } from 'esbuild';

const root = fileURLToPath(new URL('.', import.meta.url));
const outdir = 'dist/cli';

/** A file that looks beside itself finds from its part of the bundle what it would find from its own place in dist/. */
const ownPlace = {
  name: 'own-place',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]src[\\/].*\.ts$/ }, ({ path }) => {
      const place = relative(join(root, 'src'), path).split(sep).join('/').replace(/\.ts$/, '.js');
      const url = `new URL('${posix.relative(outdir, `dist/${place}`)}', import.meta.url).href`;
      return { contents: readFileSync(path, 'utf8').replaceAll('import.meta.url', url), loader: 'ts' };
    });
  },
};

/** What only yargs' own help needs, which is never shown: string-width alone takes 25 ms (Intl.Segmenter). */
const noYargsHelp = {
  name: 'no-yargs-help',
  setup({ onLoad, onResolve }) {
    onResolve({ filter: /^(cliui|string-width)$/ }, ({ path }) => ({ path, namespace: 'left-out' }));
    onLoad({ filter: /.*/, namespace: 'left-out' }, () => ({ contents: 'export default (text) => text.length;' }));
  },
};

async function build(stdio) {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const types = spawnSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.build.json')], { stdio });
  const { metafile } = await bundle({
    absWorkingDir: root,
    entryPoints: ['src/cli/main.ts'],
    outdir,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    minifySyntax: true,
    minifyWhitespace: true,
    sourcemap: true,
    metafile: true,
    logLevel: 'warning',
    // For the CommonJS among the packages.
    banner: { js: 'import{createRequire as __cr}from"node:module";const require=__cr(import.meta.url);' },
    plugins: [ownPlace, noYargsHelp],
  });
  // Parts of earlier builds, whose names held other hashes.
  const made = new Set(Object.keys(metafile.outputs).map((path) => posix.relative(outdir, path)));
  for (const name of readdirSync(join(root, outdir))) {
    if (!made.has(name)) rmSync(join(root, outdir, name), { recursive: true });
  }
  writeFileSync(join(root, outdir, 'LICENSES.txt'), licences(Object.keys(metafile.inputs)));
  return types.status ?? 1;
}

/** The licence texts of the packages whose files these are. */
function licences(inputs) {
  const packages = new Set(inputs.map((path) => /^node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0]).filter(Boolean));
  return [...packages]
    .sort()
    .map((folder) => {
      const file = readdirSync(join(root, folder)).find((name) => /^licen[cs]e/i.test(name));
      if (file === undefined) throw new Error(`${folder} has no licence file`);
      const { name, version } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
      return `${name} ${version}\n\n${readFileSync(join(root, folder, file), 'utf8').trim()}\n`;
    })
    .join(`\n${'-'.repeat(80)}\n\n`);
}

/** vitest calls this first: tests of the command run dist/, which must be what src/ says. */
export async function setup() {
  const main = join(root, outdir, 'main.js');
  const files = readdirSync(join(root, 'src'), { recursive: true }).map((name) => join(root, 'src', String(name)));
  const newest = Math.max(...[...files, fileURLToPath(import.meta.url)].map((path) => statSync(path).mtimeMs));
  if (existsSync(main) && statSync(main).mtimeMs >= newest) return;
  const begun = new Date();
  // Type errors are for `make check`: what was made is there and can be tested.
  await build('ignore');
  utimesSync(main, begun, begun);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = await build('inherit');
