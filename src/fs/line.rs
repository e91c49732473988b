//! The line: one thread in which everything that changes something happens, in the order of the requests. A serving thread
//! hands a change over and goes on, so that none of them ever waits for a disk; two changes never race.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// How often the idle line looks after what has outlived its time.
const IDLE: Duration = Duration::from_secs(30);

/// The line's end that takes jobs.
pub struct Line {
    sender: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    /// Starts the thread; `idle` is called when there was nothing to do for a while.
    pub fn start(name: &str, idle: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (sender, jobs) = channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(&jobs, idle))?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Puts a job at the end of the line. After the line has ended the job is dropped, and with it the reply it holds,
    /// which then answers with an error.
    pub fn put(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(sender) = &self.sender {
            let _ = sender.send(Box::new(job));
        }
    }
}

impl Drop for Line {
    /// What stands in the line is still done.
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("a thread that changes the store has panicked");
        }
    }
}

fn work(jobs: &Receiver<Job>, idle: impl Fn()) {
    loop {
        match jobs.recv_timeout(IDLE) {
            Ok(job) => job(),
            Err(RecvTimeoutError::Timeout) => idle(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
