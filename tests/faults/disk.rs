//! A disk that fails when it is told to: SQLite's own file layer, with calls in between that count, fail and remember.
//!
//! It is registered as SQLite's default, so the engine under test runs as it is. It also keeps of each file what the last
//! sync has made durable, so that a power cut can be had at any moment.
//!
//! Knows SQLite's files by their handles, and nothing of what is in them.

#![allow(unsafe_code, reason = "SQLite's file layer is a table of C functions")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, OsStr, c_int, c_void};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once};

use rusqlite::ffi;

/// A call that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Read,
    Write,
    Sync,
    Truncate,
    ShmMap,
}

/// What happens beside the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Nothing has happened; of a sync: what was written is still there, and the next sync may take it to the disk.
    Nothing,
    /// Half of a write has been written.
    Torn,
    /// What was written since the last sync is gone from the file.
    Dropped,
    /// It can be read as long as the machine runs, but the kernel takes it for written and no later sync will write it.
    Forgotten,
}

/// The `nth` call of a kind fails, that one alone or all from there on.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub call: Call,
    pub harm: Harm,
    pub nth: u32,
    pub lasts: bool,
}

/// What a power cut finds of the bytes that no sync has made durable.
#[derive(Debug, Clone, Copy)]
pub enum Left {
    /// None of them.
    Synced,
    /// All of them, where the kernel had not forgotten them.
    Written,
}

enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

/// What of one file is on the disk, and what is on its way.
#[derive(Default)]
struct Image {
    durable: Vec<u8>,
    on_its_way: Vec<Change>,
}

impl Image {
    fn sync(&mut self) {
        for change in self.on_its_way.drain(..) {
            match change {
                Change::Write(at, bytes) => {
                    let end = at + bytes.len();
                    self.durable.resize(self.durable.len().max(end), 0);
                    self.durable[at..end].copy_from_slice(&bytes);
                }
                Change::Cut(len) => self.durable.resize(len, 0),
            }
        }
    }
}

struct Open {
    path: PathBuf,
    real: &'static ffi::sqlite3_io_methods,
}

#[derive(Default)]
struct Disk {
    watched: PathBuf,
    open: HashMap<usize, Open>,
    images: BTreeMap<PathBuf, Image>,
    fault: Option<Fault>,
    calls: u32,
    /// How many calls have failed.
    failed: u32,
}

static DISK: Mutex<Option<Disk>> = Mutex::new(None);

fn disk() -> MutexGuard<'static, Option<Disk>> {
    DISK.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs `work` on the one disk there is.
fn with<T>(work: impl FnOnce(&mut Disk) -> T) -> T {
    work(disk().get_or_insert_default())
}

/// Keeps an eye on the files in `dir` from now on. None of them may be open.
pub fn watch(dir: &Path) {
    install();
    with(|disk| *disk = Disk { watched: dir.to_owned(), open: std::mem::take(&mut disk.open), ..Disk::default() });
}

/// Lets calls fail from now on.
pub fn fail(fault: Fault) {
    with(|disk| (disk.fault, disk.calls, disk.failed) = (Some(fault), 0, 0));
}

/// Lets no call fail any more.
pub fn heal() {
    with(|disk| disk.fault = None);
}

/// How many calls have failed since [`fail`].
pub fn failed() -> u32 {
    with(|disk| disk.failed)
}

/// Makes the directory `to` with the files that a power cut at this moment would leave.
pub fn cut_power(left: Left, to: &Path) {
    fs::create_dir(to).unwrap();
    with(|disk| {
        for (path, image) in &disk.images {
            let mut image =
                Image { durable: image.durable.clone(), on_its_way: image.on_its_way.iter().map(copy).collect() };
            if let Left::Written = left {
                image.sync();
            }
            fs::write(to.join(path.file_name().unwrap()), image.durable).unwrap();
        }
    });
}

fn copy(change: &Change) -> Change {
    match change {
        Change::Write(at, bytes) => Change::Write(*at, bytes.clone()),
        Change::Cut(len) => Change::Cut(*len),
    }
}

impl Disk {
    /// Whether this call is one that fails.
    fn fails(&mut self, file: usize, call: Call) -> Option<Harm> {
        self.image(file)?;
        let fault = self.fault.filter(|fault| fault.call == call)?;
        self.calls += 1;
        let now = self.calls == fault.nth || (fault.lasts && self.calls > fault.nth);
        self.failed += u32::from(now);
        now.then_some(fault.harm)
    }

    /// What is remembered of the open file, if it is one that is watched.
    fn image(&mut self, file: usize) -> Option<&mut Image> {
        self.images.get_mut(&self.open.get(&file)?.path)
    }
}

/// Puts this layer before SQLite's own, once and for the whole process.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the default layer is there for ever, and so is the copy with two functions of this module in it.
        unsafe {
            let real = ffi::sqlite3_vfs_find(std::ptr::null());
            let mut layer = *real;
            layer.zName = c"failing".as_ptr();
            layer.pNext = std::ptr::null_mut();
            layer.pAppData = real.cast();
            layer.xOpen = Some(open);
            layer.xDelete = Some(delete);
            let registered = ffi::sqlite3_vfs_register(Box::leak(Box::new(layer)), 1);
            assert_eq!(registered, ffi::SQLITE_OK);
        }
    });
}

/// SQLite's own layer, which `layer` stands before.
unsafe fn real(layer: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    // SAFETY: `install` has put it there.
    unsafe { (*layer).pAppData.cast() }
}

/// The path in `name`; a temporary file has none.
unsafe fn path(name: *const std::ffi::c_char) -> PathBuf {
    if name.is_null() {
        return PathBuf::new();
    }
    // SAFETY: SQLite's names are C strings.
    PathBuf::from(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()))
}

unsafe extern "C" fn open(
    layer: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: all arguments are SQLite's, handed on as they came; a file that was opened has a table of functions, and keeps
    // working with another one whose functions call those of the first.
    unsafe {
        let there = fs::read(path(name)).unwrap_or_default();
        let code = (*real(layer)).xOpen.unwrap()(real(layer), name, file, flags, out);
        if code != ffi::SQLITE_OK {
            return code;
        }
        let real = &*(*file).pMethods;
        let mut methods = *real;
        methods.iVersion = methods.iVersion.min(2);
        methods.xClose = Some(close);
        methods.xRead = Some(read);
        methods.xWrite = Some(write);
        methods.xTruncate = Some(truncate);
        methods.xSync = Some(sync);
        methods.xShmMap = Some(shm_map);
        (*file).pMethods = Box::leak(Box::new(methods));
        with(|disk| {
            let path = path(name);
            if path.parent() == Some(&disk.watched) {
                disk.images.entry(path.clone()).or_insert_with(|| Image { durable: there, on_its_way: vec![] });
            }
            disk.open.insert(file.addr(), Open { path, real });
        });
        code
    }
}

unsafe extern "C" fn delete(layer: *mut ffi::sqlite3_vfs, name: *const std::ffi::c_char, sync: c_int) -> c_int {
    // SAFETY: all arguments are SQLite's, handed on as they came.
    unsafe {
        // That a name is gone reaches the disk when it likes: until then the file is what it was.
        with(|disk| {
            if let Some(image) = disk.images.get_mut(&path(name)) {
                image.on_its_way.push(Change::Cut(0));
            }
        });
        (*real(layer)).xDelete.unwrap()(real(layer), name, sync)
    }
}

/// The functions of SQLite's own layer for `file`.
fn methods(file: *mut ffi::sqlite3_file) -> &'static ffi::sqlite3_io_methods {
    with(|disk| disk.open[&file.addr()].real)
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let real = methods(file);
    with(|disk| disk.open.remove(&file.addr()));
    // SAFETY: the argument is SQLite's, handed on as it came.
    unsafe { real.xClose.unwrap()(file) }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, bytes: *mut c_void, len: c_int, at: i64) -> c_int {
    if with(|disk| disk.fails(file.addr(), Call::Read)).is_some() {
        return ffi::SQLITE_IOERR_READ;
    }
    // SAFETY: the arguments are SQLite's, handed on as they came.
    unsafe { methods(file).xRead.unwrap()(file, bytes, len, at) }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, len: c_int, at: i64) -> c_int {
    let harm = with(|disk| disk.fails(file.addr(), Call::Write));
    let len = match harm {
        None => len,
        Some(Harm::Torn) => len / 2,
        Some(Harm::Nothing | Harm::Dropped | Harm::Forgotten) => return ffi::SQLITE_IOERR_WRITE,
    };
    // SAFETY: SQLite hands over so many bytes, and no more are looked at or handed on.
    let (code, written) = unsafe {
        let written = std::slice::from_raw_parts(bytes.cast::<u8>(), usize::try_from(len).unwrap());
        (methods(file).xWrite.unwrap()(file, bytes, len, at), written)
    };
    if code == ffi::SQLITE_OK {
        let change = Change::Write(usize::try_from(at).unwrap(), written.to_vec());
        with(|disk| disk.image(file.addr()).map(|image| image.on_its_way.push(change)));
    }
    if harm.is_some() { ffi::SQLITE_IOERR_WRITE } else { code }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    if with(|disk| disk.fails(file.addr(), Call::Truncate)).is_some() {
        return ffi::SQLITE_IOERR_TRUNCATE;
    }
    with(|disk| disk.image(file.addr()).map(|image| image.on_its_way.push(Change::Cut(usize::try_from(len).unwrap()))));
    // SAFETY: the arguments are SQLite's, handed on as they came.
    unsafe { methods(file).xTruncate.unwrap()(file, len) }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    match with(|disk| disk.fails(file.addr(), Call::Sync)) {
        None => {
            with(|disk| disk.image(file.addr()).map(Image::sync));
            // SAFETY: the arguments are SQLite's, handed on as they came.
            unsafe { methods(file).xSync.unwrap()(file, flags) }
        }
        Some(Harm::Nothing | Harm::Torn) => ffi::SQLITE_IOERR_FSYNC,
        Some(Harm::Forgotten) => {
            with(|disk| disk.image(file.addr()).map(|image| image.on_its_way.clear()));
            ffi::SQLITE_IOERR_FSYNC
        }
        Some(Harm::Dropped) => {
            let durable = with(|disk| {
                let image = disk.image(file.addr()).unwrap();
                image.on_its_way.clear();
                image.durable.clone()
            });
            let (real, len) = (methods(file), i64::try_from(durable.len()).unwrap());
            // SAFETY: the file is open, and the bytes are there while they are written.
            unsafe {
                assert_eq!(real.xTruncate.unwrap()(file, len), ffi::SQLITE_OK);
                for (n, part) in durable.chunks(4096).enumerate() {
                    let (len, at) = (c_int::try_from(part.len()).unwrap(), i64::try_from(n * 4096).unwrap());
                    assert_eq!(real.xWrite.unwrap()(file, part.as_ptr().cast(), len, at), ffi::SQLITE_OK);
                }
            }
            ffi::SQLITE_IOERR_FSYNC
        }
    }
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    at: *mut *mut c_void,
) -> c_int {
    if with(|disk| disk.fails(file.addr(), Call::ShmMap)).is_some() {
        // SAFETY: SQLite wants it empty where there is an error.
        unsafe { *at = std::ptr::null_mut() };
        return ffi::SQLITE_IOERR_SHMMAP;
    }
    // SAFETY: the arguments are SQLite's, handed on as they came.
    unsafe { methods(file).xShmMap.unwrap()(file, page, size, extend, at) }
}
