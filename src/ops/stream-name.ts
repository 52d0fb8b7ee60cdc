/** How results and messages name a stream: as the command line names standard input and output. */
export const STREAM = '-';
