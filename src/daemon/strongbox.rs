//! Where the unlocked key stands while no worker runs: memory that is a file, so that it can be handed to the next worker and
//! outlives the program's own exec.
//!
//! The best that the kernel has is memfd_secret(2): pages that are taken out of the kernel's own map, are never swapped, and
//! that no ptrace and no `/proc/<pid>/mem` reads. Where there is none, an ordinary memfd is locked into memory. Invariant: the
//! bytes are copied out of the mapping into memory that is wiped, and nowhere else.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;

use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags, mlock, mmap, munmap};
use zeroize::Zeroizing;

/// Bytes of a master key.
pub const KEY_LEN: usize = 32;
/// Bytes of the mapping: secret memory comes in pages.
const PAGE: usize = 4096;

/// A key, out of everybody's reach but this process's and those it is handed to.
pub struct Strongbox {
    memory: Mapping,
    file: OwnedFd,
}

impl Strongbox {
    /// Puts `key` into memory of its own.
    pub fn lock_up(key: &[u8; KEY_LEN]) -> io::Result<Self> {
        let file = secret_memory().or_else(|_| rustix::fs::memfd_create("kmsfs-key", MemfdFlags::CLOEXEC))?;
        rustix::fs::ftruncate(&file, PAGE as u64)?;
        let strongbox = Self::open(file)?;
        // SAFETY: the mapping is PAGE bytes long, writable, and nobody else has it yet.
        unsafe { ptr::copy_nonoverlapping(key.as_ptr(), strongbox.memory.0.cast(), KEY_LEN) };
        Ok(strongbox)
    }

    /// One that another process has handed over.
    pub fn open(file: OwnedFd) -> io::Result<Self> {
        if rustix::fs::fstat(&file)?.st_size < PAGE as i64 {
            return Err(io::Error::other("the memory that was handed over is too short for a key"));
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choosing touches no memory of ours.
        let address = unsafe { mmap(ptr::null_mut(), PAGE, protection, MapFlags::SHARED, &file, 0) }?;
        let memory = Mapping(address);
        // Secret memory is locked as it is; the limit on locked memory may keep a plain one from being so, which the log of the
        // process's hardening tells.
        // SAFETY: the mapping is PAGE bytes long.
        let _ = unsafe { mlock(address, PAGE) };
        Ok(Self { memory, file })
    }

    /// A copy of the key.
    pub fn key(&self) -> Box<Zeroizing<[u8; KEY_LEN]>> {
        let mut key = Box::new(Zeroizing::new([0; KEY_LEN]));
        // SAFETY: the mapping is PAGE bytes long, and whoever holds it writes it only before handing it on.
        unsafe { ptr::copy_nonoverlapping(self.memory.0.cast_const().cast(), key.as_mut_ptr(), KEY_LEN) };
        key
    }
}

impl AsFd for Strongbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// PAGE bytes of shared memory.
struct Mapping(*mut c_void);

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, PAGE bytes long, and nothing points into it any more.
        let _ = unsafe { munmap(self.0, PAGE) };
    }
}

/// Whether this kernel has memory that nobody else can read.
pub fn has_secret_memory() -> bool {
    secret_memory().is_ok()
}

fn secret_memory() -> io::Result<OwnedFd> {
    // SAFETY: the call takes flags and answers a descriptor or -1.
    let file = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let file = i32::try_from(file).ok().filter(|file| *file >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made it, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_the_key() {
        let key = [7; KEY_LEN];
        let first = Strongbox::lock_up(&key).unwrap();
        let second = Strongbox::open(first.as_fd().try_clone_to_owned().unwrap()).unwrap();
        drop(first);
        assert_eq!(**second.key(), key);
    }

    #[test]
    fn what_is_no_key_is_not_mapped() {
        let short = rustix::fs::memfd_create("short", MemfdFlags::CLOEXEC).unwrap();
        assert!(Strongbox::open(short).is_err());
    }

    #[test]
    fn secret_memory_is_not_to_be_read_as_a_file() {
        let Ok(file) = secret_memory() else {
            println!("this kernel has no memfd_secret; not tried");
            return;
        };
        let strongbox = Strongbox::lock_up(&[9; KEY_LEN]).unwrap();
        let mut bytes = [0; KEY_LEN];
        assert!(rustix::io::read(&strongbox, &mut bytes[..]).is_err());
        drop(file);
    }
}
