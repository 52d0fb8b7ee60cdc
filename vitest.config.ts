import { configDefaults, defineConfig } from 'vitest/config';

const results = process.env.VDCONV_TEST_RESULTS;

export default defineConfig({
  test: {
    globalSetup: ['build.mjs'],
    include: ['src/**/*.test.ts', 'native/codecs/*.test.ts'],
    // `make test-specimens` says where the fetched images are, `make test-oracle` where the built programs are; without
    // them these files have nothing to test.
    exclude: [
      ...configDefaults.exclude,
      ...(process.env.VDCONV_SPECIMENS ? [] : ['src/specimens.test.ts']),
      ...(process.env.VDCONV_ORACLE ? [] : ['src/oracle/**']),
    ],
    // Oracles are other programs, and machines that run CI are slow.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // A skipped test says why: the tree of names and notes, not only the sum.
    reporters: results === undefined ? ['default'] : ['default', ['json', { outputFile: results }]],
  },
});
