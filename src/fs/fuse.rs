//! The adaptor to the kernel, and the only file that names fuser. It turns numbers into types, asks the tree, and turns the
//! answer into a reply; it decides nothing.
//!
//! What only looks is answered by the thread that serves the request. What changes something goes to the line, whose one
//! thread answers it. Invariant: no serving thread waits for a disk, for another request, or for a lock that is held over
//! either; and no request is ever answered ENOSYS, after which the kernel would stop asking, unless that is what is wanted.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, Config, CopyFileRangeFlags, Errno, FileAttr, FileHandle, FileType, FopenFlags,
    Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, MountOption, Notifier, OpenAccMode, OpenFlags,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, SessionACL, TimeOrNow, WriteFlags,
};

use super::Fault;
use super::inode::{Handle, Ino};
use super::line::Line;
use super::ops::{At, Attr, AttrChange, Entry, How, Tree, Who};
use super::refusals::Gesture;
use super::tree::{Shape, shape};
use crate::id::OpId;

/// What is mounted where.
#[derive(Debug, Clone)]
pub struct Mount {
    pub point: PathBuf,
    /// Whether other users than the one who mounts may come in; the tree's permission bits decide what they may do.
    pub allow_other: bool,
    pub read_only: bool,
}

/// A mount that the kernel has, and that is served by [`Session::run`].
pub struct Session {
    inner: fuser::Session<Adaptor>,
    point: PathBuf,
}

/// Takes a mount out of the tree of directories.
pub struct Detacher {
    point: PathBuf,
}

/// Longest write in bytes that the kernel sends at once: a value fits twice, and no more plaintext than that can stand in
/// the buffer that requests are read into.
const WRITE_MAX: u32 = 64 * 1024;
/// Closes and interrupts count as background requests; the kernel's 12 would make closes wait for each other.
const BACKGROUND_MAX: u16 = 256;
/// The bit that marks a request sent again.
const RESENT: u64 = 1 << 63;
/// Longest name in bytes.
const NAME_MAX: u32 = 255;
/// Bytes of the blocks that stat(2) counts.
const STAT_BLOCK: u64 = 512;

/// Mounts the tree. When it returns, the kernel has the mount; it is answered once [`Session::run`] is called.
pub fn attach(tree: Arc<Tree>, mount: &Mount) -> io::Result<Session> {
    let mut connection = [0; 8];
    getrandom::fill(&mut connection).map_err(|error| io::Error::other(error.to_string()))?;
    let notifier = Arc::new(OnceLock::new());
    let sweeper = tree.clone();
    let adaptor = Adaptor {
        tree,
        connection,
        notifier: notifier.clone(),
        line: Line::start("kmsfs-change", move || sweeper.sweep())?,
        // INVAL_ENTRY takes the directory's lock, which a caller may hold whose request stands in the line.
        forgets: Arc::new(Line::start("kmsfs-forget", || {})?),
    };
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("kmsfs".into()),
        MountOption::Subtype("kmsfs".into()),
        MountOption::DefaultPermissions,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoExec,
        MountOption::NoAtime,
        if mount.read_only { MountOption::RO } else { MountOption::RW },
    ];
    config.acl = if mount.allow_other { SessionACL::All } else { SessionACL::Owner };
    // Two serve better than one even for one reader (measured).
    config.n_threads = Some(thread::available_parallelism().map_or(2, usize::from).max(2));
    let point = mount.point.canonicalize()?;
    let inner = fuser::Session::new(adaptor, &point, &config)?;
    let _ = notifier.set(inner.notifier());
    Ok(Session { inner, point })
}

impl Session {
    /// For ending the mount from another thread.
    pub fn detacher(&self) -> Detacher {
        Detacher { point: self.point.clone() }
    }

    /// Serves until the mount is gone from the kernel.
    pub fn run(self) -> io::Result<()> {
        self.inner.run()
    }
}

impl Detacher {
    /// Takes the mount out of its place. What is open in it goes on; serving ends with the last of that.
    pub fn detach(&self) -> io::Result<()> {
        match rustix::mount::unmount(&self.point, rustix::mount::UnmountFlags::DETACH) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::PERM) => detach_by_helper(&self.point),
            Err(error) => Err(error.into()),
        }
    }
}

fn detach_by_helper(point: &Path) -> io::Result<()> {
    let status = Command::new("fusermount3").arg("-uz").arg("--").arg(point).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("fusermount3 -uz ended with {status}"))) }
}

struct Adaptor {
    tree: Arc<Tree>,
    /// Tells this mount's requests from those of any other.
    connection: [u8; 8],
    notifier: Arc<OnceLock<Notifier>>,
    line: Line,
    forgets: Arc<Line>,
}

impl Adaptor {
    fn who(&self, request: &Request) -> Who {
        let mut op = [0; 16];
        op[..8].copy_from_slice(&self.connection);
        op[8..].copy_from_slice(&(request.unique().0 & !RESENT).to_le_bytes());
        Who { uid: request.uid(), gid: request.gid(), tid: request.pid(), op: OpId(op) }
    }

    /// Answers a request that only looks.
    fn look<T>(
        &self,
        request: &Request,
        verb: &'static str,
        on: INodeNo,
        ask: impl FnOnce(&Tree, Who) -> Result<T, Fault>,
    ) -> Result<T, Errno> {
        let who = self.who(request);
        ask(&self.tree, who).map_err(|fault| {
            self.tree.refuse(who, Gesture { verb, on: Ino::parse(on.0), writes: false }, &fault);
            Errno::from_i32(fault.errno())
        })
    }

    /// Hands a request that changes something to the line, which answers it.
    fn change<T>(
        &self,
        request: &Request,
        verb: &'static str,
        on: INodeNo,
        act: impl FnOnce(&Tree, Who) -> Result<T, Fault> + Send + 'static,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        let (who, tree) = (self.who(request), self.tree.clone());
        let (notifier, forgets) = (self.notifier.clone(), self.forgets.clone());
        self.line.put(move || {
            let outcome = act(&tree, who).map_err(|fault| {
                tree.refuse(who, Gesture { verb, on: Ino::parse(on.0), writes: true }, &fault);
                Errno::from_i32(fault.errno())
            });
            let stale = tree.take_stale();
            for ino in stale.attrs {
                tell(&notifier, |notifier| notifier.inval_inode(number(ino), -1, 0));
            }
            reply(outcome);
            for (parent, name) in stale.names {
                let notifier = notifier.clone();
                forgets.put(move || {
                    tell(&notifier, |notifier| notifier.inval_entry(number(parent), OsStr::from_bytes(&name)))
                });
            }
        });
    }
}

/// Says to the kernel what it has to forget. It may have forgotten already.
fn tell(notifier: &OnceLock<Notifier>, say: impl FnOnce(&Notifier) -> io::Result<()>) {
    if let Some(Err(error)) = notifier.get().map(say) {
        log::warn!("the kernel did not take a notification: {error}");
    }
}

fn number(ino: Ino) -> INodeNo {
    INodeNo(ino.number())
}

fn ino(number: INodeNo) -> Result<Ino, Fault> {
    Ino::parse(number.0).ok_or(Fault::NoEntry)
}

fn handle(number: FileHandle) -> Result<Handle, Fault> {
    Handle::parse(number.0).ok_or(Fault::BadHandle)
}

fn file_type(shape: Shape) -> FileType {
    match shape {
        Shape::Directory => FileType::Directory,
        Shape::File => FileType::RegularFile,
        Shape::Link => FileType::Symlink,
    }
}

fn file_attr(attr: &Attr) -> FileAttr {
    let modified = attr.modified.to_system();
    FileAttr {
        ino: number(attr.ino),
        size: attr.size,
        blocks: attr.size.div_ceil(STAT_BLOCK),
        atime: modified,
        mtime: modified,
        ctime: attr.changed.to_system(),
        crtime: attr.created.to_system(),
        kind: file_type(attr.shape),
        perm: attr.mode,
        nlink: if attr.shape == Shape::Directory { 2 } else { 1 },
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn reply_entry(reply: ReplyEntry, outcome: Result<Entry, Errno>) {
    match outcome {
        Ok(entry) => {
            let generation = Generation(entry.generation);
            reply.entry_with_ttls(&entry.attr_ttl, &entry.entry_ttl, &file_attr(&entry.attr), generation);
        }
        Err(errno) => reply.error(errno),
    }
}

fn reply_empty(reply: ReplyEmpty, outcome: Result<(), Errno>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

fn reply_open(reply: ReplyOpen, outcome: Result<(Handle, FopenFlags), Errno>) {
    match outcome {
        Ok((handle, flags)) => reply.opened(FileHandle(handle.number()), flags),
        Err(errno) => reply.error(errno),
    }
}

fn reply_xattr(reply: ReplyXattr, size: u32, outcome: Result<Vec<u8>, Errno>) {
    match outcome {
        Ok(bytes) if size == 0 => reply.size(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
        Ok(bytes) if bytes.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(bytes) => reply.data(&bytes),
        Err(errno) => reply.error(errno),
    }
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

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
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

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
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
                let (ttl, generation) = (Duration::ZERO, Generation(entry.generation));
                let file = FileHandle(handle.number());
                reply.created(&ttl, &file_attr(&entry.attr), generation, file, FopenFlags::FOPEN_DIRECT_IO);
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
        let data = crate::value::Value::copy_of(data);
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
        let act = move |tree: &Tree, who: Who| tree.flush(who, handle(file)?);
        self.change(request, "close", number, act, move |outcome| reply_empty(reply, outcome));
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
                reply.add(self::number(entry), next, file_type(shape(entry.kind)), OsStr::from_bytes(name))
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
                let (attr, generation) = (file_attr(&entry.attr), Generation(entry.generation));
                reply.add(self::number(found), next, OsStr::from_bytes(name), &ttl, &attr, generation)
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
