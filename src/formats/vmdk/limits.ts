/** What vdconv takes of any VMDK, whatever its extents are. */
import { SECTOR, type Sectors, TiB } from '../../base/units.ts';

/** vdconv's limit: 64 TiB, beyond what ESXi makes (62 TiB). */
export const MAX_CAPACITY: Sectors = (64 * TiB) / SECTOR;
/** Bytes of a directory or of grain tables read at once. */
export const TABLE_PIECE = 1024 * 1024;
