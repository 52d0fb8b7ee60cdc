//! Locks as QEMU takes them, so that neither reads what the other writes. QEMU block/file-posix.c: byte 100 + n of the file
//! is locked by who has permission n, byte 200 + n by who lets nobody else have it. All of them are read locks; whether
//! anybody holds one is asked by testing for a write lock.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const HAS: i64 = 100;
const KEEPS_OTHERS_FROM: i64 = 200;

/// QEMU's permissions, by the number of their bit.
const READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// Says that the file is being read and must stay as it is, for as long as the open file lives. False: somebody has it open
/// for writing, or keeps others from reading. True also where the file system has no such locks.
pub fn lock_for_reading(file: BorrowedFd<'_>) -> io::Result<bool> {
    // Taken first and tested after, as QEMU does: of two that begin at once, at least one sees the other.
    for byte in [HAS + READ, KEEPS_OTHERS_FROM + WRITE, KEEPS_OTHERS_FROM + RESIZE] {
        match call(file, libc::F_OFD_SETLK, libc::F_RDLCK, byte) {
            Ok(_) => {}
            Err(e) if is_held(&e) => return Ok(false),
            Err(e) if cannot_lock(&e) => return Ok(true),
            Err(e) => return Err(e),
        }
    }
    for byte in [KEEPS_OTHERS_FROM + READ, HAS + WRITE, HAS + RESIZE] {
        if call(file, libc::F_OFD_GETLK, libc::F_WRLCK, byte)? != libc::F_UNLCK {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The type of the lock that stands in the way, for `F_OFD_GETLK`.
fn call(file: BorrowedFd<'_>, command: i32, kind: i32, byte: i64) -> io::Result<i32> {
    loop {
        let mut lock = libc::flock {
            l_type: kind as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: byte,
            l_len: 1,
            // Must be 0 for locks of open files.
            l_pid: 0,
        };
        // SAFETY: the descriptor is borrowed, so it is open; both commands take a pointer to a flock, which `lock` is, and
        // neither keeps it.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
        if result >= 0 {
            return Ok(i32::from(lock.l_type));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn is_held(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
}

/// A network file system without a lock service, or a file system without locks.
fn cannot_lock(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn readers_share_and_a_writer_is_seen() {
        let path = std::env::temp_dir().join(format!("vdconv-locks-{}", std::process::id()));
        std::fs::write(&path, [0]).unwrap();
        let open = || File::open(&path).unwrap();
        let (a, b, writer) = (open(), open(), open());
        assert!(lock_for_reading(a.as_fd()).unwrap());
        assert!(lock_for_reading(b.as_fd()).unwrap());
        call(writer.as_fd(), libc::F_OFD_SETLK, libc::F_RDLCK, HAS + WRITE).unwrap();
        assert!(!lock_for_reading(open().as_fd()).unwrap());
        drop(writer);
        assert!(lock_for_reading(open().as_fd()).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
