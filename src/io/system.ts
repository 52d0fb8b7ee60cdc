/**
 * What the operating system offers and Node does not. The native engine brings it; without it files are opened all the
 * same, and whoever needs more says what it does instead.
 */
export interface SystemCalls {
  /** The parts of [start, end) of a file that are not holes, as pairs; undefined where the file system cannot tell. */
  dataRuns(fd: number, start: number, end: number, max: number): Float64Array | undefined;
  /**
   * Opens `path`, which has no symbolic links, beneath `root` in one step: the descriptor. Undefined where the kernel
   * cannot; throws with the errno as `code`, XDEV or LOOP where the path leads out or holds a link.
   */
  openBeneath?(root: string, path: string): number | undefined;
  /**
   * Takes the locks that a reader takes among QEMU's processes; they last as long as the open file. False: somebody has
   * it open for writing.
   */
  lockForReading?(fd: number): boolean;
  /** Bytes of a block device. */
  deviceSize?(fd: number): number;
}
