//! The worker's hold on one step: what goes to the runner, and what comes back of it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};
use zeroize::Zeroize as _;

use super::declaration::Output;
use super::job::{Job, Report};
use super::runner::WORD;
use crate::daemon::handover::Control;
use crate::daemon::tended::SELF;
use crate::id::NodeId;
use crate::secret::{Step, VALUE_MAX};
use crate::value::Value;
use crate::vault::Task;

/// Bytes of stderr that are kept: its end.
const SAID_MAX: usize = 4096;
/// How often it is looked whether the step is still wanted.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// How long what is left in the pipes is read.
const DRAIN: Duration = Duration::from_secs(2);
/// What a function exits with that cannot do it as it is configured: EX_CONFIG of sysexits.h.
const EX_CONFIG: i32 = 78;
/// A shorter text is too common to be taken out of a message.
const MASKED_MIN: usize = 4;

/// What came of a step.
pub enum Outcome {
    /// It is done; `create` has printed this.
    Done(Value, Output),
    /// It is not. Trying again is of no use where it failed `for_good`.
    Failed { why: String, for_good: bool },
    /// Nobody wants it any more.
    Unwanted,
}

/// Has the step of `task`, for secret `id`, done by its function in `dir`. `lock` is the file in which the runner locks the secret's place.
/// `wanted` is asked every now and then.
pub fn run(dir: &Path, lock: &Path, id: NodeId, task: &Task, wanted: impl Fn() -> bool) -> Outcome {
    match try_run(dir, lock, id, task, wanted) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Failed { why: format!("the function cannot be run: {error}"), for_good: false },
    }
}

fn try_run(dir: &Path, lock: &Path, id: NodeId, task: &Task, wanted: impl Fn() -> bool) -> io::Result<Outcome> {
    let secret = [&task.target.instance, &task.target.secret].map(|part| part.as_deref().unwrap_or_default()).join("/");
    let version = task.version.as_ref().map_or_else(String::new, |id| id.as_str().to_owned());
    let (dir, function, step) = (dir.to_owned(), task.function.clone(), task.at.step);
    let job = Job { dir, function, step, secret, version, place: id.0 };
    let mut running = Running::start(&job, lock, task)?;
    let report = loop {
        match running.look()? {
            Some(report) => break report,
            None if wanted() => {}
            None => return Ok(Outcome::Unwanted),
        }
    };
    running.drain(&wanted)?;
    Ok(judge(report, running, task))
}

fn judge(report: Report, mut running: Running, task: &Task) -> Outcome {
    let printed = std::mem::replace(&mut running.printed, Value::empty());
    let failed = |why: String, for_good| Outcome::Failed { why, for_good };
    let (what, for_good) = match report {
        // What the others print nobody looks at.
        Report::Exited { code: 0, output } if printed.len() <= VALUE_MAX || task.at.step != Step::Create => {
            return Outcome::Done(printed, output);
        }
        Report::Exited { code: 0, .. } => {
            return failed(format!("the function has printed more than {VALUE_MAX} bytes"), true);
        }
        Report::Exited { code, .. } => (format!("exit status {code}"), code == EX_CONFIG),
        Report::Killed { signal } => (format!("killed by signal {signal}"), false),
        Report::TimedOut { seconds } => (format!("not done within {seconds} seconds"), false),
        Report::Refused(why) => return failed(why, true),
        Report::Failed(why) => return failed(why, false),
    };
    let line = last_line(&running.said, running.is_cut, task);
    failed(if line.is_empty() { what } else { format!("{line} ({what})") }, for_good)
}

/// The last line of what a function said that has something in it, without the values that it was given, which it must not say. Of a line whose
/// beginning is not there any more nobody knows what it says.
fn last_line(said: &[u8], is_cut: bool, task: &Task) -> String {
    let text = String::from_utf8_lossy(said);
    let lines = text.lines().map(str::trim).enumerate();
    match lines.filter(|(_, line)| !line.is_empty()).last() {
        Some((0, _)) if is_cut => "its last line is too long to be shown".to_owned(),
        Some((_, line)) => masked(line.to_owned(), task),
        None => String::new(),
    }
}

fn masked(line: String, task: &Task) -> String {
    let texts = task.texts();
    let texts = texts.iter().filter_map(|text| std::str::from_utf8(text.as_bytes()).ok()).map(str::trim);
    let mut texts: Vec<&str> = texts.filter(|text| text.len() >= MASKED_MIN).collect();
    texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    texts.into_iter().fold(line, |line, text| if line.contains(text) { line.replace(text, "***") } else { line })
}

/// A runner, and what it has brought so far.
struct Running {
    /// None once the runner is to end.
    control: Option<Control>,
    child: Child,
    stdout: Option<File>,
    stderr: Option<File>,
    printed: Value,
    said: Vec<u8>,
    /// Whether something stood before what is in `said`.
    is_cut: bool,
}

impl Running {
    fn start(job: &Job, lock: &Path, task: &Task) -> io::Result<Self> {
        let lock = OwnedFd::from(OpenOptions::new().read(true).write(true).open(lock)?);
        let [(stdout, its_stdout), (stderr, its_stderr)] =
            [pipe_with(PipeFlags::CLOEXEC)?, pipe_with(PipeFlags::CLOEXEC)?];
        let mut files = Vec::new();
        for value in [Some(&task.old), task.new.as_ref(), task.older.as_ref()] {
            files.push(pipe_of(value.map_or(&[][..], Value::as_bytes))?);
        }
        files.extend([its_stdout, its_stderr, lock]);
        let (control, its) = Control::pair()?;
        let child = Command::new(SELF)
            .arg0(env!("CARGO_PKG_NAME"))
            .arg(WORD)
            .stdin(Stdio::from(its.into_fd()))
            .stdout(Stdio::null())
            .env_clear()
            .spawn()?;
        let (stdout, stderr) = (Some(File::from(stdout)), Some(File::from(stderr)));
        let (printed, said) = (Value::empty(), Vec::new());
        let running = Self { control: Some(control), child, stdout, stderr, printed, said, is_cut: false };
        let files: Vec<_> = files.iter().map(OwnedFd::as_fd).collect();
        running.control.as_ref().map_or(Ok(()), |control| control.send(job, &files))?;
        Ok(running)
    }

    /// Waits a moment for what comes next; how the step ended, once it has.
    fn look(&mut self) -> io::Result<Option<Report>> {
        let [ended, out, err] = self.ready()?;
        if out {
            self.read_stdout()?;
        }
        if err {
            self.read_stderr()?;
        }
        let Some(control) = self.control.as_ref().filter(|_| ended) else { return Ok(None) };
        let report = control.receive::<Report>()?.map(|(report, _)| report);
        Ok(Some(report.unwrap_or_else(|| Report::Failed("the process that runs the function has died".to_owned()))))
    }

    /// Whether there is something from the runner, on stdout, on stderr, within a moment.
    fn ready(&self) -> io::Result<[bool; 3]> {
        let ends = [
            self.control.as_ref().map(|control| control.as_fd()),
            self.stdout.as_ref().map(|stdout| stdout.as_fd()),
            self.stderr.as_ref().map(|stderr| stderr.as_fd()),
        ];
        let open =
            ends.iter().enumerate().filter_map(|(which, end)| Some((which, PollFd::new(end.as_ref()?, PollFlags::IN))));
        let (which, mut watched): (Vec<usize>, Vec<PollFd<'_>>) = open.unzip();
        match poll(&mut watched, Some(&LOOK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = [false; 3];
        for (which, end) in which.into_iter().zip(watched) {
            ready[which] = !end.revents().is_empty();
        }
        Ok(ready)
    }

    /// What waits in the pipes when all is over. Where the runner was killed, what its function has started may have their other ends still.
    fn drain(&mut self, wanted: &impl Fn() -> bool) -> io::Result<()> {
        let end = Instant::now() + DRAIN;
        while (self.stdout.is_some() || self.stderr.is_some()) && Instant::now() < end && wanted() {
            let [_, out, err] = self.ready()?;
            match (out, err) {
                (true, _) => self.read_stdout()?,
                (false, true) => self.read_stderr()?,
                (false, false) => break,
            }
        }
        Ok(())
    }

    fn read_stdout(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.stdout else { return Ok(()) };
        let mut bytes = [0; 4096];
        let len = pipe.read(&mut bytes)?;
        // One byte too many says that there were too many.
        if self.printed.len() <= VALUE_MAX {
            self.printed.write_at(self.printed.len(), &bytes[..len]);
        }
        bytes.zeroize();
        if len == 0 {
            self.stdout = None;
        }
        Ok(())
    }

    fn read_stderr(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.stderr else { return Ok(()) };
        let mut bytes = [0; 4096];
        let len = pipe.read(&mut bytes)?;
        self.said.extend_from_slice(&bytes[..len]);
        let surplus = self.said.len().saturating_sub(SAID_MAX);
        self.is_cut |= surplus > 0;
        self.said.drain(..surplus);
        if len == 0 {
            self.stderr = None;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It takes the function to its end when nobody is there to be told.
        self.control = None;
        if let Err(error) = self.child.wait() {
            log::error!("cannot wait for the process that runs a function: {error}");
        }
        self.said.zeroize();
    }
}

/// A pipe with these bytes, which are read once. Pipes are in memory that never goes to a swap device, and nobody else can open one.
fn pipe_of(bytes: &[u8]) -> io::Result<OwnedFd> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    if fcntl_getpipe_size(&writer)? < bytes.len() {
        fcntl_setpipe_size(&writer, bytes.len())?;
    }
    File::from(writer).write_all(bytes)?;
    Ok(reader)
}
