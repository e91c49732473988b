//! Another program in the keeper's place: the same process, the same descriptors, a new file.
//!
//! What the keeper holds waits in a socket while the process becomes the other program, which finds it as its stdin. The former
//! program's file comes along, open: where the new one's worker never serves, the process becomes the former one again.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::attach::Mount;
use super::handover::{Connected, Control, WORDS};
use super::keeper::{Keeper, Line};
use super::notify::Manager;
use super::poker::Poker;
use super::strongbox::Strongbox;
use super::tended::{SELF, Signals};
use super::unmount;
use super::views::{Door, Kept, ViewOrder};
use crate::estate::Files;
use crate::store::StoreLock;

/// What makes a program a keeper or a worker of this mount.
pub struct Programs {
    /// The arguments of a worker.
    pub worker: Vec<OsString>,
    /// Those of a poker.
    pub poker: Vec<OsString>,
    /// Those of a keeper that goes on.
    pub keeper: Vec<OsString>,
    /// Those that ask a program whether it understands [`WORDS`]; it exits with 0 if so.
    pub asks: Vec<OsString>,
}

/// Why there was no upgrade. The mount is as it was.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error("{program} cannot be started: {source}")]
    Start { program: PathBuf, source: io::Error },
    #[error("{0} does not know how to take over this mount")]
    Stranger(PathBuf),
    #[error("{0} has not said whether it can take over this mount")]
    Silent(PathBuf),
}

/// How long a program may take to say whether it can take over.
const PATIENCE: Duration = Duration::from_secs(5);
/// What arrives while one program becomes another must wait and not kill.
const HELD_BACK: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// Which of the descriptors that are handed over tells of the views.
const VIEWS_AT: usize = 7;

/// What one keeper leaves to the next.
pub struct Legacy {
    said: Said,
    files: Vec<OwnedFd>,
    views: Kept,
    ordered: VecDeque<ViewOrder>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Said {
    connected: Connected,
    /// The path of the program, as bytes.
    program: Vec<u8>,
    /// Whether the last descriptor is the former program's file.
    has_former: bool,
    // Behind this message come the devices of views, which the descriptor before that one tells of.
}

impl Legacy {
    /// What waits on `control`.
    pub fn receive(control: &Control) -> io::Result<Self> {
        let handed: Option<(Said, Vec<OwnedFd>)> = control.receive()?;
        let (said, mut files) = handed.ok_or_else(|| io::Error::other("nobody hands over anything"))?;
        if files.len() <= VIEWS_AT {
            return Err(io::Error::other("a descriptor is missing"));
        }
        let (views, ordered) = Kept::from_file(files.remove(VIEWS_AT), control)?;
        Ok(Self { said, files, views, ordered })
    }

    /// The keeper that holds it now.
    pub fn keeper(self, mount: Mount, store: PathBuf, programs: Programs) -> io::Result<Keeper> {
        let too_few = || io::Error::other("a descriptor is missing");
        let mut files = self.files.into_iter();
        let mut next = || files.next().ok_or_else(too_few);
        let (lock, key, device, names, pokes) = (next()?, next()?, next()?, next()?, next()?);
        let estate = Files::from_both([next()?, next()?]);
        let former = if self.said.has_former { Some(File::from(next()?)) } else { None };
        let signals = Signals::listen()?;
        held_back().thread_unblock()?;
        Ok(Keeper {
            mount,
            lock: StoreLock::from(lock),
            key: Strongbox::open(key)?,
            program: OsString::from_vec(self.said.program).into(),
            poker: Poker::resume(names, pokes, &programs.poker)?,
            estate,
            programs,
            accept_rollback: false,
            line: Some(Line { device, said: self.said.connected }),
            signals,
            manager: Manager::of_this_process(),
            former,
            views: self.views,
            door: Door::open(&store).inspect_err(|error| log::error!("nobody can ask for views: {error}")).ok(),
            ordered: self.ordered,
            store,
        })
    }
}

/// Whether `program` can go on with what a keeper of this one holds.
pub fn ask(program: &Path, args: &[OsString]) -> Result<(), UpgradeError> {
    let start = |source| UpgradeError::Start { program: program.to_owned(), source };
    let mut question = Command::new(program);
    question.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = question.spawn().map_err(start)?;
    let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).map_err(|error| start(error.into()))?;
    if !unmount::ended(&handle, Instant::now() + PATIENCE).map_err(start)? {
        child.kill().and_then(|()| child.wait()).map_err(start)?;
        return Err(UpgradeError::Silent(program.to_owned()));
    }
    if child.wait().map_err(start)?.success() { Ok(()) } else { Err(UpgradeError::Stranger(program.to_owned())) }
}

/// The arguments of such a question.
pub fn question(word: &str) -> Vec<OsString> {
    vec![word.into(), WORDS.to_string().into()]
}

/// Whether this program understands the words that `asked` counts.
pub fn understands(asked: &OsStr) -> bool {
    asked.as_bytes() == WORDS.to_string().as_bytes()
}

impl Keeper {
    /// Becomes the program that has the path of the one that was started. Answers only if that fails.
    pub fn become_new(&mut self) -> UpgradeError {
        let former = match File::open(SELF) {
            Ok(former) => former,
            Err(source) => return UpgradeError::Start { program: self.program.clone(), source },
        };
        self.become_program(&self.program.clone(), Some(former))
    }

    /// Becomes the former program again, if there was one. Answers only if that fails.
    pub fn become_former(&mut self) -> Option<UpgradeError> {
        let former = self.former.as_ref()?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", former.as_raw_fd()));
        Some(self.become_program(&path, None))
    }

    fn become_program(&mut self, program: &Path, former: Option<File>) -> UpgradeError {
        let failed = |source| UpgradeError::Start { program: program.to_owned(), source };
        // The other program starts its own; this one's is started anew where there is no other program.
        self.poker.dismiss();
        let stdin = match self.hand_over(former) {
            Ok(stdin) => stdin,
            Err(source) => return failed(source),
        };
        if let Err(error) = held_back().thread_block() {
            return failed(error.into());
        }
        let error = Command::new(program).arg0(env!("CARGO_PKG_NAME")).args(&self.programs.keeper).stdin(stdin).exec();
        if let Err(error) = held_back().thread_unblock() {
            log::error!("signals are not heard any more: {error}");
        }
        failed(error)
    }

    fn hand_over(&self, former: Option<File>) -> io::Result<Stdio> {
        let line = self.line.as_ref().ok_or_else(|| io::Error::other("there is no connection yet"))?;
        let said = Said {
            connected: line.said.clone(),
            program: self.program.as_os_str().as_bytes().to_vec(),
            has_former: former.is_some(),
        };
        let mut files = vec![self.lock.as_fd(), self.key.as_fd(), line.device.as_fd()];
        files.extend(self.poker.ends());
        files.extend(self.estate.both());
        let views = self.views.to_file(&self.ordered)?;
        files.push(views.as_fd());
        files.extend(former.as_ref().map(File::as_fd));
        let (here, there) = Control::pair()?;
        here.send(&said, &files)?;
        self.views.devices().try_for_each(|devices| here.send(&(), &devices))?;
        Ok(Stdio::from(there.into_fd()))
    }
}

fn held_back() -> SigSet {
    HELD_BACK.into_iter().collect()
}
