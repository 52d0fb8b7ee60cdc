/** The version of this package: package.json's, which a test compares. Reading that file would cost every start a call. */
export const version: string = '0.1.0';
