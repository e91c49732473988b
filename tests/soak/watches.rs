//! inotify(7): what the kernel tells of files, whoever serves them.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

pub struct Watches(OwnedFd);

/// What has happened to a watched file, or to one in a watched directory.
pub struct Event {
    pub watch: i32,
    pub what: ReadFlags,
    /// The file's name in the directory; empty where it is the file that is watched.
    pub name: String,
}

impl Watches {
    pub fn new() -> Self {
        Self(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap())
    }

    /// Watches `path` too, for `what`. The number of the watch.
    pub fn add(&self, path: &Path, what: WatchFlags) -> i32 {
        inotify::add_watch(&self.0, CString::new(path.as_os_str().as_bytes()).unwrap(), what).unwrap()
    }

    /// Waits for events; none where none come in time.
    pub fn next(&self, time: Duration) -> Vec<Event> {
        let timeout = Timespec::try_from(time).unwrap();
        rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout))).unwrap();
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut events = Vec::new();
        while let Ok(event) = reader.next() {
            let name = event.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
            events.push(Event { watch: event.wd(), what: event.events(), name });
        }
        events
    }
}
