//! Opening a file beneath a directory in one step: what the name leads to cannot be exchanged meanwhile.

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::{Errno, retry_on_intr};
use std::os::fd::OwnedFd;

/// Opens `path`, relative to `root` and without symbolic links, for reading. Waits for no writer of a pipe. `None` where
/// the kernel has no openat2 (before 5.6), or a sandbox does not let it through.
pub fn open_beneath(root: &str, path: &str) -> std::io::Result<Option<OwnedFd>> {
    let beneath = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = retry_on_intr(|| open(root, beneath, Mode::empty()))?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match retry_on_intr(|| openat2(&directory, path, flags, Mode::empty(), resolve)) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOSYS | Errno::PERM) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_leads_out() {
        let root = std::env::temp_dir().join(format!("vdconv-beneath-{}", std::process::id()));
        fs::create_dir_all(root.join("in/sub")).unwrap();
        fs::write(root.join("secret"), "secret").unwrap();
        fs::write(root.join("in/sub/file"), "file").unwrap();
        symlink("../secret", root.join("in/link")).unwrap();
        symlink("..", root.join("in/up")).unwrap();
        symlink("sub", root.join("in/same")).unwrap();
        let inside = root.join("in");
        let open = |path: &str| open_beneath(inside.to_str().unwrap(), path).map_err(|e| e.raw_os_error().unwrap());
        if let Some(file) = open("sub/file").unwrap() {
            let mut text = String::new();
            fs::File::from(file).read_to_string(&mut text).unwrap();
            assert_eq!(text, "file");
            let (xdev, looped) = (Errno::XDEV.raw_os_error(), Errno::LOOP.raw_os_error());
            for (path, error) in [
                ("../secret", xdev),
                ("/etc/passwd", xdev),
                ("link", looped),
                ("up/secret", looped),
                ("same/file", looped),
                ("none", Errno::NOENT.raw_os_error()),
            ] {
                assert_eq!(open(path).err(), Some(error), "{path}");
            }
        }
        fs::remove_dir_all(root).unwrap();
    }
}
