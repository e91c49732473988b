//! The runner: does one step of a rotation, in a process of its own that knows no key and looks at no value.
//!
//! It reads the function's declaration, starts the function as the user named there, and waits: for its end, for the end of its time, or for the end of
//! whoever asked. Then nothing of the function is left: all processes that it has started are the runner's to end, since orphans come to it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, setsid, waitpid};
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::declaration::{Declaration, Output};
use super::job::{Becoming, Job, Report};
use crate::daemon::handover::Control;
use crate::daemon::harden::close_all;
use crate::daemon::mount::MountError;
use crate::daemon::tended::SELF;
use crate::daemon::worker::ignore_signals;

/// The word that makes this program one, and the word for what becomes the function.
pub const WORD: &str = "run-step";
const BECOME: &str = "become-function";
/// Where a function's programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Descriptors that go to the function: three values, stdout, stderr.
const FILES: usize = 5;
/// The first descriptor of a value; those behind it follow.
const FIRST_VALUE: i32 = 3;
/// Far above the descriptors that a function gets.
const OUT_OF_THE_WAY: i32 = 64;
/// What a process that cannot become the function exits with, as shells do.
const CANNOT_EXECUTE: i32 = 126;
/// How often it is looked whether the place is free.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// How long what was killed is waited for.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// Does the step that is asked for on stdin, and reports how it ended.
pub fn run() -> Result<(), MountError> {
    // A terminal's Ctrl-C is for the keeper.
    ignore_signals()?;
    let control = Control::inherited().map_err(MountError::Handover)?;
    let Some((job, files)) = control.receive::<Job>().map_err(MountError::Handover)? else { return Ok(()) };
    let declared = Declaration::of(&job.dir, &job.function, &job.secret);
    let report = match (declared, <[OwnedFd; FILES + 1]>::try_from(files)) {
        (Ok(declared), Ok([old, new, older, stdout, stderr, lock])) => match take_place(&lock, job.place) {
            // Whoever asked may have gone while another runner had the place.
            Ok(()) if is_gone(&control) => return Ok(()),
            Ok(()) => do_step(&job, &declared, vec![old, new, older, stdout, stderr], &control),
            Err(error) => {
                Report::Failed(format!("the last step of the secret's rotation has not come to its end: {error}"))
            }
        },
        (Ok(_), Err(_)) => Report::Failed("not all descriptors came".to_owned()),
        (Err(error), _) => Report::Refused(error.to_string()),
    };
    // Nobody may be there to hear it.
    let _ = control.send(&report, &[]);
    Ok(())
}

/// Locks the secret's place, for as long as this process lives: a runner whose worker was killed may be on its way to its end still, with a function.
fn take_place(lock: &OwnedFd, place: u32) -> io::Result<()> {
    let place = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        // The first byte is nobody's.
        l_start: libc::off_t::from(place) + 1,
        l_len: 1,
        l_pid: 0,
    };
    let end = Instant::now() + 3 * LAST_BREATH;
    loop {
        match fcntl(lock, FcntlArg::F_SETLK(&place)) {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) if Instant::now() < end => {
                thread::sleep(ASK_AGAIN)
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether nobody is at the other end any more, who says nothing more.
fn is_gone(control: &Control) -> bool {
    poll(&mut [PollFd::new(control, PollFlags::IN)], Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

fn do_step(job: &Job, declared: &Declaration, files: Vec<OwnedFd>, control: &Control) -> Report {
    let failed = |error: io::Error| Report::Failed(format!("{} cannot be run: {error}", declared.program.display()));
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        return failed(error.into());
    }
    let started = start(job, declared, files);
    let ended = started.and_then(|mut child| {
        let ended = wait(&mut child, control, declared.timeout);
        end_all()?;
        ended
    });
    match ended {
        Ok(Some(status)) => match (status.code(), status.signal()) {
            (Some(code), _) => Report::Exited { code, output: declared.output },
            (None, signal) => Report::Killed { signal: signal.unwrap_or_default() },
        },
        Ok(None) => Report::TimedOut { seconds: declared.timeout.as_secs() },
        Err(error) => failed(error),
    }
}

/// Starts what becomes the function.
fn start(job: &Job, declared: &Declaration, files: Vec<OwnedFd>) -> io::Result<Child> {
    let (control, its) = Control::pair()?;
    let child = Command::new(SELF)
        .arg0(env!("CARGO_PKG_NAME"))
        .arg(BECOME)
        .stdin(Stdio::from(its.into_fd()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env_clear()
        .spawn()?;
    let user = &declared.user;
    let home = user.home.as_deref().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
    let fixed = [
        ("PATH", PATH.to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("HOME", home),
        ("USER", declared.login.clone()),
        ("LOGNAME", declared.login.clone()),
        ("SHELL", "/bin/sh".to_owned()),
        ("KMSFS_SECRET", job.secret.clone()),
        ("KMSFS_VERSION", job.version.clone()),
        ("KMSFS_OUTPUT", if declared.output == Output::Members { "members" } else { "value" }.to_owned()),
    ];
    let mut variables: Vec<(String, String)> = fixed.map(|(name, value)| (name.to_owned(), value)).into();
    variables.extend(declared.variables.iter().cloned());
    let (uid, gid, groups) = (user.uid, user.gid, user.groups.clone());
    let becoming = Becoming { program: declared.program.clone(), step: job.step, uid, gid, groups, variables };
    let files: Vec<_> = files.iter().map(OwnedFd::as_fd).collect();
    control.send(&becoming, &files)?;
    Ok(child)
}

/// Waits for the end of `child`; `None` where it has not come in time, or whoever asked is gone.
fn wait(child: &mut Child, control: &Control, time: Duration) -> io::Result<Option<ExitStatus>> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let end = Instant::now() + time;
    loop {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
        let mut watched = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
        match poll(&mut watched, Some(&left)) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(0) => return Ok(None),
            other => other?,
        };
        let [died, asks] = watched.map(|one| !one.revents().is_empty());
        match (died, asks) {
            (true, _) => return Ok(Some(child.wait()?)),
            // It says nothing more, so it is gone.
            (false, true) => return Ok(None),
            (false, false) => {}
        }
    }
}

/// Ends all that is left of a function, whatever it has started: each of them is a child of this process once its parent is gone. All are killed
/// before one is waited for, so that none of them starts another meanwhile.
fn end_all() -> io::Result<()> {
    let end = Instant::now() + LAST_BREATH;
    loop {
        let list = std::fs::read_to_string("/proc/thread-self/children")?;
        let children: Vec<Pid> = list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
        let Some(first) = children.first() else { return Ok(()) };
        for pid in &children {
            // It may be gone already.
            let _ = kill_process(*pid, Signal::KILL);
        }
        if let Ok(pidfd) = pidfd_open(*first, PidfdFlags::empty()) {
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
            let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left));
        }
        for pid in children {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
        if Instant::now() >= end {
            return Err(io::Error::other("what it has started does not come to its end"));
        }
    }
}

/// Becomes the function that is named on stdin. It returns only where that cannot be.
pub fn become_function() -> Result<(), MountError> {
    let error = try_become().err().unwrap_or_else(|| io::Error::other("nothing was said"));
    // It is the function's stderr by now, if it came so far.
    eprintln!("{error}");
    std::process::exit(CANNOT_EXECUTE);
}

fn try_become() -> io::Result<()> {
    // The descriptors that come take the lowest numbers, which are free then.
    close_all()?;
    let control = Control::from_fd(rustix::io::fcntl_dupfd_cloexec(io::stdin(), OUT_OF_THE_WAY)?);
    let Some((becoming, files)) = control.receive::<Becoming>()? else { return Ok(()) };
    let files = <[OwnedFd; FILES]>::try_from(files).map_err(|_| io::Error::other("not all descriptors came"))?;
    let [old, new, older, stdout, stderr] = files;
    rustix::stdio::dup2_stderr(&stderr)?;
    for (value, number) in [&old, &new, &older].into_iter().zip(FIRST_VALUE..) {
        if value.as_raw_fd() != number {
            return Err(io::Error::other("a descriptor has another number"));
        }
        rustix::io::fcntl_setfd(value, rustix::io::FdFlags::empty())?;
    }
    setsid()?;
    take_identity(&becoming)?;
    // Not before: a change of identity takes it back. A function whose runner was killed is nobody's to end.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let error = Command::new(&becoming.program)
        .arg(OsStr::new(becoming.step.word()))
        .current_dir("/")
        .env_clear()
        .envs(becoming.variables)
        .stdin(Stdio::null())
        .stdout(Stdio::from(stdout))
        .exec();
    Err(io::Error::new(error.kind(), format!("{}: {error}", becoming.program.display())))
}

/// This process has one thread.
fn take_identity(becoming: &Becoming) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(becoming.uid), Gid::from_raw(becoming.gid));
    if rustix::process::geteuid() == uid && !uid.is_root() {
        return Ok(());
    }
    let groups: Vec<Gid> = becoming.groups.iter().copied().chain([becoming.gid]).map(Gid::from_raw).collect();
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}
