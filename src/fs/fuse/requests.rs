//! A function for each request of the kernel.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, FopenFlags, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};

use super::answers::{API, Adaptor, DRAFT_READ};
use super::callers::LettingGo;
use super::convert::{
    GENERATION, file_attr, handle, ino, reply_attr, reply_empty, reply_entry, reply_open, reply_xattr,
};
use super::listing::{list, reply_entries, reply_names};
use super::lost::Taken;
use crate::fs::Fault;
use crate::fs::inode::{Handle, Kind};
use crate::fs::ops::{At, AttrChange, Follow, How, Reading, Tree, Who};
use crate::fs::process::Process;
use crate::secret::Refusal;
use crate::value::Value;

/// Longest write in bytes that the kernel sends at once: a value fits twice, and no more plaintext than that can stand in
/// the buffer that requests are read into.
const WRITE_MAX: u32 = 64 * 1024;
/// Closes and interrupts count as background requests; the kernel's 12 would make closes wait for each other.
const BACKGROUND_MAX: u16 = 256;
/// Longest name in bytes.
const NAME_MAX: u32 = 255;
/// All that chmod(2) can ask for, of a mode that also says the file's type.
const MODE_BITS: u32 = 0o7777;
/// What mkdir(2) takes of its mode.
const MKDIR_BITS: u32 = 0o777;

impl Adaptor {
    /// Pipes, devices and second names are nothing that a secret has.
    fn refuse_entry(&self, request: &Request, verb: &'static str, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_string_lossy().into_owned();
        let ask = move |_: &Tree, _: Who| Err(Refusal::NotAnEntry(name.clone()).into());
        self.look(request, verb, parent, ask, |outcome| reply_entry(reply, outcome));
    }
}

impl fuser::Filesystem for Adaptor {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Without ATOMIC_O_TRUNC a `>` arrives as an open and a truncation that nothing tells apart from truncate(2).
        config.add_capabilities(InitFlags::FUSE_ATOMIC_O_TRUNC).map_err(|_| {
            io::Error::new(io::ErrorKind::Unsupported, "the kernel's FUSE has no atomic O_TRUNC (Linux 2.6.24 has)")
        })?;
        for wanted in
            // HAS_RESEND: what a worker that died had taken comes to the next one.
            [
                InitFlags::FUSE_DO_READDIRPLUS,
                InitFlags::FUSE_PARALLEL_DIROPS,
                InitFlags::FUSE_NO_EXPORT_SUPPORT,
                InitFlags::FUSE_HAS_RESEND,
            ]
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
        let name = name.as_bytes().to_vec();
        let ask = move |tree: &Tree, who: Who| tree.lookup(who, ino(parent)?, &name);
        self.look(request, "lookup", parent, ask, |outcome| reply_entry(reply, outcome));
    }

    fn getattr(&self, request: &Request, number: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let ask = move |tree: &Tree, who: Who| {
            let ino = ino(number)?;
            Ok((tree.attr(who, ino)?, tree.attr_ttl(ino)))
        };
        self.look(request, "stat", number, ask, |outcome| reply_attr(reply, outcome));
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
        let mode = mode.map(|mode| (mode & MODE_BITS) as u16);
        let act = move |tree: &Tree, who: Who| {
            let ino = ino(number)?;
            let handle = file.map(handle).transpose()?;
            let attr = tree.set_attr(who, ino, AttrChange { mode, uid, gid, size, handle })?;
            Ok((attr, tree.attr_ttl(ino)))
        };
        self.change(request, "change of attributes", number, act, |outcome| reply_attr(reply, outcome));
    }

    fn readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        let ask = move |tree: &Tree, _| tree.link_target(ino(number)?);
        self.look(request, "readlink", number, ask, |outcome| match outcome {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        });
    }

    fn mknod(&self, request: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        self.refuse_entry(request, "mknod", parent, name, reply);
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let (name, mode) = (name.as_bytes().to_vec(), (mode & !umask & MKDIR_BITS) as u16);
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
        self.refuse_entry(request, "link", parent, name, reply);
    }

    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if ino(number).is_ok_and(|ino| ino.kind == Kind::Api) {
            let ask = move |tree: &Tree, who: Who| tree.open_talk(who, ino(number)?, flags.0);
            // A request and its answer have no place in a file.
            let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH | FopenFlags::FOPEN_STREAM;
            return self.look(request, "open", number, ask, move |outcome| {
                reply_open(reply, outcome.map(|handle| (handle, flags)));
            });
        }
        if flags.acc_mode() == OpenAccMode::O_RDONLY {
            let ask = move |tree: &Tree, who: Who| tree.open_to_read(who, ino(number)?);
            // What was only read has nothing to say at its close.
            let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH;
            let answer = move |outcome: Result<Handle, Errno>| reply_open(reply, outcome.map(|handle| (handle, flags)));
            // Of a value the audit is told when it is read.
            return match ino(number) {
                Ok(ino) if ino.kind.is_value() => self.look(request, "open", number, ask, answer),
                _ => self.look_told(request, "open", number, ask, answer),
            };
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
        flags: OpenFlags,
        owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = size as usize;
        if let Ok(handle @ Handle::Events { .. }) = handle(file) {
            let hurries = flags.0 & libc::O_NONBLOCK != 0;
            let read = Follow { handle, offset, size, hurries };
            let read = if owner.is_some() { Ok(read) } else { Err(Fault::PageCache) };
            return self.follow(request, number, read, |outcome| match outcome {
                Ok(bytes) => reply.data(&bytes),
                Err(errno) => reply.error(errno),
            });
        }
        if let Ok(copy @ Handle::Snapshot { .. }) = handle(file) {
            let ask = move |tree: &Tree, _: Who| tree.read_snapshot(copy, offset, size, owner.is_none());
            return self.look(request, "read", number, ask, |outcome| match outcome {
                Ok(bytes) => reply.data(&bytes),
                Err(errno) => reply.error(errno),
            });
        }
        let ask = move |tree: &Tree, who: Who| tree.read(who, ino(number)?, handle(file)?, owner.is_none());
        let answer = move |outcome: Result<Reading, Errno>| match outcome {
            Ok(reading) => reply.data(reading.slice(offset, size)),
            Err(errno) => reply.error(errno),
        };
        match handle(file) {
            Ok(talk @ Handle::Talk { .. }) if self.tree.changes(talk) => {
                let act = move |tree: &Tree, who: Who| tree.say(who, talk, size, true);
                self.change(request, API, number, act, answer);
            }
            Ok(talk @ Handle::Talk { .. }) => {
                let ask = move |tree: &Tree, who: Who| tree.say(who, talk, size, false);
                self.look_told(request, API, number, ask, answer);
            }
            Ok(Handle::Draft { .. }) => self.change(request, DRAFT_READ, number, ask, answer),
            _ => self.look_told(request, "read", number, ask, answer),
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
        if let Ok(talk @ Handle::Talk { .. }) = handle(file) {
            let ask = move |tree: &Tree, who: Who| {
                tree.hear(who, talk, data.as_bytes())?;
                Ok(Taken { by: talk, len: u32::try_from(data.len()).unwrap_or(u32::MAX) })
            };
            return self.look(request, API, number, ask, |outcome| match outcome {
                Ok(taken) => reply.written(taken.len),
                Err(errno) => reply.error(errno),
            });
        }
        let act = move |tree: &Tree, who: Who| {
            let by = handle(file)?;
            tree.write(who, ino(number)?, by, offset, data.as_bytes())?;
            Ok(Taken { by, len: u32::try_from(data.len()).unwrap_or(u32::MAX) })
        };
        // Who it was is known only as long as it waits.
        let writer = Arc::new(OnceLock::new());
        let (tree, tid, its) = (self.tree.clone(), request.pid(), writer.clone());
        let before = Box::new(move || {
            let _ = its.set(Process::of_thread(tid));
            handle(file).into_iter().for_each(|handle| tree.lets_go(handle));
        });
        let instead = move |tree: &Tree| {
            let writer = writer.get().copied().flatten();
            handle(file).into_iter().for_each(|handle| tree.forsake_write(handle, writer));
        };
        let let_go = LettingGo { before, ..LettingGo::default() };
        self.change_or(request, "write", number, act, let_go, instead, |outcome| match outcome {
            Ok(taken) => reply.written(taken.len),
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
        let answer = |outcome| reply_empty(reply, outcome);
        match handle(file) {
            Ok(Handle::Value { .. } | Handle::Text { .. } | Handle::Talk { .. } | Handle::Events { .. }) => {
                self.look(request, "release", number, act, answer)
            }
            Ok(copy @ Handle::Snapshot { .. }) => {
                let act = move |tree: &Tree, who: Who| tree.release_snapshot(who, copy);
                self.look(request, "release", number, act, answer);
            }
            _ => self.change(request, "release", number, act, answer),
        }
    }

    fn fsync(&self, request: &Request, number: INodeNo, file: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let act = move |tree: &Tree, who: Who| tree.sync(who, handle(file)?);
        self.change(request, "fsync", number, act, move |outcome| reply_empty(reply, outcome));
    }

    fn opendir(&self, request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let ask = move |tree: &Tree, who: Who| tree.open_directory(who, ino(number)?);
        self.look(request, "opendir", number, ask, |outcome| match outcome {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        });
    }

    fn readdir(&self, request: &Request, number: INodeNo, _file: FileHandle, offset: u64, reply: ReplyDirectory) {
        let ask = move |tree: &Tree, who: Who| list(tree, who, number, offset, false);
        self.look(request, "readdir", number, ask, |outcome| reply_names(reply, outcome));
    }

    fn readdirplus(&self, request: &Request, number: INodeNo, _: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        let ask = move |tree: &Tree, who: Who| list(tree, who, number, offset, true);
        self.look(request, "readdir", number, ask, |outcome| reply_entries(reply, outcome));
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
        let name = name.as_bytes().to_vec();
        let ask = move |tree: &Tree, _: Who| tree.set_xattr(&name);
        self.look(request, "setxattr", number, ask, |outcome| reply_empty(reply, outcome));
    }

    fn getxattr(&self, request: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let name = name.as_bytes().to_vec();
        let ask = move |tree: &Tree, who: Who| tree.xattr(who, ino(number)?, &name);
        self.look(request, "getxattr", number, ask, move |outcome| reply_xattr(reply, size, outcome));
    }

    fn listxattr(&self, request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let ask = move |tree: &Tree, _: Who| Ok(tree.xattr_names(ino(number)?));
        self.look(request, "listxattr", number, ask, move |outcome| reply_xattr(reply, size, outcome));
    }

    fn removexattr(&self, request: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.as_bytes().to_vec();
        let ask = move |tree: &Tree, _: Who| tree.set_xattr(&name);
        self.look(request, "removexattr", number, ask, |outcome| reply_empty(reply, outcome));
    }

    fn access(&self, request: &Request, number: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        if self.tree.view().is_none() {
            // Never asked: default_permissions lets the kernel decide by the bits. Were it asked, nobody is let in.
            return reply.error(Errno::EACCES);
        }
        let [reads, writes, passes] =
            [AccessFlags::R_OK, AccessFlags::W_OK, AccessFlags::X_OK].map(|flag| mask.contains(flag));
        let ask = move |tree: &Tree, who: Who| tree.access(who, ino(number)?, reads, writes, passes);
        self.look(request, "access", number, ask, |outcome| reply_empty(reply, outcome));
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
