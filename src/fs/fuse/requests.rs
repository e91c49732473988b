//! A function for each request of the kernel.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, FopenFlags, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};

use super::answers::Adaptor;
use super::convert::{
    GENERATION, file_attr, file_type, handle, ino, inode_number, reply_empty, reply_entry, reply_open, reply_xattr,
};
use crate::fs::Fault;
use crate::fs::inode::Handle;
use crate::fs::ops::{At, AttrChange, How, Tree, Who};
use crate::fs::tree::shape;
use crate::secret::Refusal;
use crate::value::Value;

/// Longest write in bytes that the kernel sends at once: a value fits twice, and no more plaintext than that can stand in
/// the buffer that requests are read into.
const WRITE_MAX: u32 = 64 * 1024;
/// Closes and interrupts count as background requests; the kernel's 12 would make closes wait for each other.
const BACKGROUND_MAX: u16 = 256;
/// Longest name in bytes.
const NAME_MAX: u32 = 255;

/// Pipes, devices and second names are nothing that a secret has.
fn no_entry(name: &OsStr) -> Fault {
    Refusal::NotAnEntry(name.to_string_lossy().into_owned()).into()
}

impl fuser::Filesystem for Adaptor {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Without ATOMIC_O_TRUNC a `>` arrives as an open and a truncation that nothing tells apart from truncate(2).
        config.add_capabilities(InitFlags::FUSE_ATOMIC_O_TRUNC).map_err(|_| {
            io::Error::new(io::ErrorKind::Unsupported, "the kernel's FUSE has no atomic O_TRUNC (Linux 2.6.24 has)")
        })?;
        for wanted in
            [InitFlags::FUSE_DO_READDIRPLUS, InitFlags::FUSE_PARALLEL_DIROPS, InitFlags::FUSE_NO_EXPORT_SUPPORT]
        {
            if config.add_capabilities(wanted).is_err() {
                log::info!("this kernel's FUSE does not offer {wanted:?}");
            }
        }
        let limits =
            [config.set_max_write(WRITE_MAX).err(), config.set_max_background(BACKGROUND_MAX).err().map(u32::from)];
        for nearest in limits.into_iter().flatten() {
            log::info!("this kernel's FUSE takes a limit of {nearest} at most");
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let outcome = self.look(request, "lookup", parent, |tree, who| tree.lookup(who, ino(parent)?, name.as_bytes()));
        reply_entry(reply, outcome);
    }

    fn getattr(&self, request: &Request, number: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let outcome = self.look(request, "stat", number, |tree, who| {
            let ino = ino(number)?;
            Ok((tree.attr(who, ino)?, tree.attr_ttl(ino)))
        });
        match outcome {
            Ok((attr, ttl)) => reply.attr(&ttl, &file_attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        file: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mode = mode.map(|mode| (mode & 0o7777) as u16);
        let act = move |tree: &Tree, who: Who| {
            let ino = ino(number)?;
            let handle = file.map(handle).transpose()?;
            let attr = tree.set_attr(who, ino, AttrChange { mode, uid, gid, size, handle })?;
            Ok((attr, tree.attr_ttl(ino)))
        };
        self.change(request, "change of attributes", number, act, move |outcome| match outcome {
            Ok((attr, ttl)) => reply.attr(&ttl, &file_attr(&attr)),
            Err(errno) => reply.error(errno),
        });
    }

    fn readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        match self.look(request, "readlink", number, |tree, _| tree.link_target(ino(number)?)) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(&self, request: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply_entry(reply, self.look(request, "mknod", parent, |_, _| Err(no_entry(name))));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let (name, mode) = (name.as_bytes().to_vec(), (mode & !umask & 0o777) as u16);
        let act = move |tree: &Tree, who: Who| tree.make_directory(who, ino(parent)?, &name, mode);
        self.change(request, "mkdir", parent, act, move |outcome| reply_entry(reply, outcome));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.as_bytes().to_vec();
        let act = move |tree: &Tree, who: Who| tree.unlink(who, ino(parent)?, &name);
        self.change(request, "unlink", parent, act, move |outcome| reply_empty(reply, outcome));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.as_bytes().to_vec();
        let act = move |tree: &Tree, who: Who| tree.remove_directory(who, ino(parent)?, &name);
        self.change(request, "rmdir", parent, act, move |outcome| reply_empty(reply, outcome));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let (name, target) = (name.as_bytes().to_vec(), target.as_os_str().as_bytes().to_vec());
        let act = move |tree: &Tree, who: Who| tree.make_link(who, ino(parent)?, &name, &target);
        self.change(request, "symlink", parent, act, move |outcome| reply_entry(reply, outcome));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.intersects(RenameFlags::RENAME_EXCHANGE | RenameFlags::RENAME_WHITEOUT) {
            return reply.error(Errno::EINVAL);
        }
        let keeps = flags.contains(RenameFlags::RENAME_NOREPLACE);
        let (name, to_name) = (name.as_bytes().to_vec(), to_name.as_bytes().to_vec());
        let act = move |tree: &Tree, who: Who| {
            let from = At { parent: ino(parent)?, name: &name };
            tree.rename(who, from, At { parent: ino(to_parent)?, name: &to_name }, keeps)
        };
        self.change(request, "rename", parent, act, move |outcome| reply_empty(reply, outcome));
    }

    fn link(&self, request: &Request, _: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        reply_entry(reply, self.look(request, "link", parent, |_, _| Err(no_entry(name))));
    }

    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() == OpenAccMode::O_RDONLY {
            let outcome = self.look(request, "open", number, |tree, who| tree.open_to_read(who, ino(number)?));
            // What was only read has nothing to say at its close.
            let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH;
            return reply_open(reply, outcome.map(|handle| (handle, flags)));
        }
        let how = How::from_flags(flags.0);
        let act = move |tree: &Tree, who: Who| tree.open_to_write(who, ino(number)?, how);
        self.change(request, "open for writing", number, act, move |outcome| {
            reply_open(reply, outcome.map(|handle| (handle, FopenFlags::FOPEN_DIRECT_IO)));
        });
    }

    fn create(&self, request: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, flags: i32, reply: ReplyCreate) {
        let (name, how) = (name.as_bytes().to_vec(), How::from_flags(flags));
        let act = move |tree: &Tree, who: Who| tree.create(who, ino(parent)?, &name, how);
        self.change(request, "create", parent, act, move |outcome| match outcome {
            Ok((entry, handle)) => {
                // What is being made may come to nothing: the kernel shall not believe in it for longer than this.
                let (ttl, file) = (Duration::ZERO, FileHandle(handle.number()));
                reply.created(&ttl, &file_attr(&entry.attr), GENERATION, file, FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(errno) => reply.error(errno),
        });
    }

    fn read(
        &self,
        request: &Request,
        number: INodeNo,
        file: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = size as usize;
        let ask = move |tree: &Tree, who: Who| tree.read(who, ino(number)?, handle(file)?, owner.is_none());
        if let Ok(Handle::Draft { .. }) = handle(file) {
            return self.change(request, "read of a draft", number, ask, move |outcome| match outcome {
                Ok(reading) => reply.data(reading.slice(offset, size)),
                Err(errno) => reply.error(errno),
            });
        }
        match self.look(request, "read", number, ask) {
            Ok(reading) => reply.data(reading.slice(offset, size)),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        request: &Request,
        number: INodeNo,
        file: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let data = Value::copy_of(data);
        let act = move |tree: &Tree, who: Who| {
            tree.write(who, ino(number)?, handle(file)?, offset, data.as_bytes())?;
            Ok(u32::try_from(data.len()).unwrap_or(u32::MAX))
        };
        self.change(request, "write", number, act, move |outcome| match outcome {
            Ok(written) => reply.written(written),
            Err(errno) => reply.error(errno),
        });
    }

    fn flush(&self, request: &Request, number: INodeNo, file: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        self.close(request, number, file, reply);
    }

    fn release(
        &self,
        request: &Request,
        number: INodeNo,
        file: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let act = move |tree: &Tree, who: Who| {
            tree.release(who, handle(file)?);
            Ok(())
        };
        match handle(file) {
            Ok(Handle::Value { .. } | Handle::Text { .. }) => {
                reply_empty(reply, self.look(request, "release", number, act))
            }
            _ => self.change(request, "release", number, act, move |outcome| reply_empty(reply, outcome)),
        }
    }

    fn fsync(&self, request: &Request, number: INodeNo, file: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let act = move |tree: &Tree, who: Who| tree.sync(who, handle(file)?);
        self.change(request, "fsync", number, act, move |outcome| reply_empty(reply, outcome));
    }

    fn readdir(&self, request: &Request, number: INodeNo, _file: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let outcome = self.look(request, "readdir", number, |tree, _| {
            tree.list(ino(number)?, offset, &mut |next, name, entry| {
                reply.add(inode_number(entry), next, file_type(shape(entry.kind)), OsStr::from_bytes(name))
            })
        });
        match outcome {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        request: &Request,
        number: INodeNo,
        _file: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let outcome = self.look(request, "readdir", number, |tree, who| {
            tree.list(ino(number)?, offset, &mut |next, name, found| {
                // What went between the listing and the look at it is left out.
                let Ok(entry) = tree.entry(who, found) else { return false };
                let ttl = entry.entry_ttl.min(entry.attr_ttl);
                reply.add(inode_number(found), next, OsStr::from_bytes(name), &ttl, &file_attr(&entry.attr), GENERATION)
            })
        });
        match outcome {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        // Every change of a directory is durable when it is answered.
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _number: INodeNo, reply: ReplyStatfs) {
        let space = self.tree.space();
        let size = space.block_size;
        reply.statfs(space.blocks, space.free, space.free, space.files, space.free, size, NAME_MAX, size);
    }

    fn setxattr(&self, request: &Request, number: INodeNo, name: &OsStr, _: &[u8], _: i32, _: u32, reply: ReplyEmpty) {
        reply_empty(reply, self.look(request, "setxattr", number, |tree, _| tree.set_xattr(name.as_bytes())));
    }

    fn getxattr(&self, request: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let outcome = self.look(request, "getxattr", number, |tree, _| tree.xattr(ino(number)?, name.as_bytes()));
        reply_xattr(reply, size, outcome);
    }

    fn listxattr(&self, request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let outcome = self.look(request, "listxattr", number, |tree, _| Ok(tree.xattr_names(ino(number)?)));
        reply_xattr(reply, size, outcome);
    }

    fn removexattr(&self, request: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(reply, self.look(request, "removexattr", number, |tree, _| tree.set_xattr(name.as_bytes())));
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        // Never asked: default_permissions lets the kernel decide by the bits. Were it asked, nobody is let in.
        reply.error(Errno::EACCES);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Errno::EOPNOTSUPP);
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // cp and Python then read and write, so that the copy is of the version that its descriptor pins.
        reply.error(Errno::EINVAL);
    }
}
