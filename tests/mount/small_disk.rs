//! A mount of which one directory is a disk of its own, small enough to become full.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Mount, run};

pub struct SmallDisk {
    pub mount: Mount,
    pub disk: PathBuf,
}

impl SmallDisk {
    /// Mounts with `options`, over a tmpfs of `kib` KiB that stands at `name` beside the mountpoint.
    pub fn new(name: &str, kib: u32, options: &[&str]) -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let disk = dir.path().join(name);
        std::fs::create_dir(&disk).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={kib}k,mode=700"), "tmpfs"]).arg(&disk));
        Self { mount: Mount::in_dir(dir, options), disk }
    }

    fn filler(&self) -> PathBuf {
        self.disk.join("filler")
    }

    /// Takes `bytes` of the disk.
    pub fn take(&self, bytes: u64) {
        run(Command::new("fallocate").args(["-l", &bytes.to_string()]).arg(self.filler()));
    }

    /// Leaves `free` bytes on the disk.
    pub fn fill(&self, free: u64) {
        let space = rustix::fs::statvfs(&self.disk).unwrap();
        self.take(space.f_bavail * space.f_frsize - free.min(space.f_bavail * space.f_frsize));
    }

    /// Gives back what was taken.
    pub fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The daemon has the disk open until its own mount is gone.
        if !std::thread::panicking() {
            self.mount.stop();
        }
        let _ = rustix::mount::unmount(&self.disk, rustix::mount::UnmountFlags::DETACH);
    }
}
