//! The line: one thread in which everything that changes something happens, in the order of the requests. A serving thread
//! hands a change over and goes on, so that none of them ever waits for a disk; two changes never race.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Something to do, and not before when.
struct Job {
    due: Instant,
    work: Box<dyn FnOnce() + Send>,
}

/// How often the line looks after what has outlived its time.
const IDLE: Duration = Duration::from_secs(30);

/// The line and its thread.
pub struct Line {
    door: Option<Door>,
    thread: Option<JoinHandle<()>>,
}

/// Where jobs are handed in. A job may keep one, to come again.
#[derive(Clone)]
pub struct Door(Sender<Job>);

impl Line {
    /// Starts the thread; `idle` is called every now and then, however busy the line is.
    pub fn start(name: &str, idle: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (sender, jobs) = channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(&jobs, idle))?;
        Ok(Self { door: Some(Door(sender)), thread: Some(thread) })
    }

    /// Puts a job at the end of the line.
    pub fn put(&self, work: impl FnOnce() + Send + 'static) {
        if let Some(door) = &self.door {
            door.put_after(Duration::ZERO, work);
        }
    }

    /// For a job that may have to come again; `None` once the line ends.
    pub fn door(&self) -> Option<Door> {
        self.door.clone()
    }
}

impl Door {
    /// Puts a job into the line once `delay` is over. After the line has ended the job is dropped, and with it the reply it
    /// holds, which then answers with an error.
    pub fn put_after(&self, delay: Duration, work: impl FnOnce() + Send + 'static) {
        let _ = self.0.send(Job { due: Instant::now() + delay, work: Box::new(work) });
    }
}

impl Drop for Line {
    /// What stands in the line is still done.
    fn drop(&mut self) {
        self.door = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("a thread that changes the store has panicked");
        }
    }
}

fn work(jobs: &Receiver<Job>, idle: impl Fn()) {
    // Jobs whose time has not come; a handful at most.
    let mut waiting: Vec<Job> = Vec::new();
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() >= IDLE {
            idle();
            looked = Instant::now();
        }
        while let Some(due) = waiting.iter().position(|job| job.due <= Instant::now()) {
            (waiting.swap_remove(due).work)();
        }
        let next = waiting.iter().map(|job| job.due.saturating_duration_since(Instant::now())).min();
        match jobs.recv_timeout(next.unwrap_or(IDLE)) {
            Ok(job) if job.due <= Instant::now() => (job.work)(),
            Ok(job) => waiting.push(job),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_waits_holds_nobody_up() {
        let line = Line::start("test", || {}).unwrap();
        let (said, heard) = channel();
        let door = line.door().unwrap();
        let late = said.clone();
        let again = door.clone();
        door.put_after(Duration::from_millis(20), move || {
            again.put_after(Duration::ZERO, move || late.send("late").unwrap());
        });
        drop(door);
        line.put(move || said.send("at once").unwrap());
        drop(line);
        assert_eq!(heard.iter().collect::<Vec<_>>(), ["at once", "late"], "and what waits is still done at the end");
    }
}
