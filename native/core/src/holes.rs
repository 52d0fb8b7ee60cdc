//! Where a sparse file has data, and where a device ends (lseek); and how a file gets space where it has none.

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// The parts of [start, end) that are not holes, at most `max`, as [start, end) pairs. `None` where the file system does
/// not tell. Holes are at the file system's granularity; a file system may call everything data.
pub fn data_runs(fd: BorrowedFd<'_>, start: u64, end: u64, max: usize) -> std::io::Result<Option<Vec<(u64, u64)>>> {
    let mut runs = Vec::new();
    let mut at = start;
    while at < end && runs.len() < max {
        let data = match seek(fd, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole up to the end of the file.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::SPIPE) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        if data >= end {
            break;
        }
        let hole = match seek(fd, SeekFrom::Hole(data)) {
            Ok(hole) => hole.min(end),
            // The file was cut meanwhile: the read will say so.
            Err(Errno::NXIO) => end,
            Err(e) => return Err(e.into()),
        };
        runs.push((data, hole));
        at = hole;
    }
    Ok(Some(runs))
}

/// Reserves the space of [0, size), the length with it. False where the file system cannot.
pub fn allocate(fd: BorrowedFd<'_>, size: u64) -> std::io::Result<bool> {
    if size == 0 {
        return Ok(true);
    }
    loop {
        match fallocate(fd, FallocateFlags::empty(), 0, size) {
            Ok(()) => return Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Bytes of a block device, whose length `stat` does not tell.
pub fn device_size(fd: BorrowedFd<'_>) -> std::io::Result<u64> {
    Ok(seek(fd, SeekFrom::End(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_hole_is_not_data() {
        let path = std::env::temp_dir().join(format!("vdconv-holes-{}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.set_len(10 << 20).unwrap();
        file.write_all_at(&[1], 5_000_000).unwrap();
        let runs =
            data_runs(file.as_fd(), 0, 10 << 20, 100).unwrap().expect("the temporary directory's file system tells");
        assert_eq!(runs, [(4_997_120, 5_001_216)]);
        assert_eq!(data_runs(file.as_fd(), 4_998_000, 4_999_000, 100).unwrap().unwrap(), [(4_998_000, 4_999_000)]);
        assert_eq!(data_runs(file.as_fd(), 6_000_000, 10 << 20, 100).unwrap().unwrap(), []);
    }
}
