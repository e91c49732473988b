//! The line: one thread in which everything that changes something happens, in the order of the requests. A serving thread
//! hands a change over and goes on, so that none of them ever waits for a disk; two changes never race.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Something to do.
type Job = Box<dyn FnOnce() + Send>;

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
        Self::start_with(name, IDLE, idle)
    }

    fn start_with(name: &str, every: Duration, idle: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (sender, jobs) = channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(&jobs, every, idle))?;
        Ok(Self { door: Some(Door(sender)), thread: Some(thread) })
    }

    /// Puts a job at the end of the line.
    pub fn put(&self, work: impl FnOnce() + Send + 'static) {
        if let Some(door) = &self.door {
            door.put(work);
        }
    }

    /// For a job that may have to come again; `None` once the line ends.
    pub fn door(&self) -> Option<Door> {
        self.door.clone()
    }
}

impl Door {
    /// Puts a job at the end of the line. After the line has ended the job is dropped, and with it the reply it holds, which
    /// then answers with an error.
    pub fn put(&self, work: impl FnOnce() + Send + 'static) {
        let _ = self.0.send(Box::new(work));
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

fn work(jobs: &Receiver<Job>, every: Duration, idle: impl Fn()) {
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() >= every {
            idle();
            looked = Instant::now();
        }
        match jobs.recv_timeout(every) {
            Ok(job) => job(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_may_come_again() {
        let line = Line::start("test", || {}).unwrap();
        let (said, heard) = channel();
        let (let_go, held) = channel::<()>();
        let (again, door) = (said.clone(), line.door().unwrap());
        line.put(move || {
            held.recv().unwrap();
            door.put(move || again.send("again").unwrap());
        });
        line.put(move || said.send("next").unwrap());
        let_go.send(()).unwrap();
        drop(line);
        assert_eq!(
            heard.iter().collect::<Vec<_>>(),
            ["next", "again"],
            "and what comes again is still done at the end"
        );
    }

    #[test]
    fn what_has_outlived_its_time_is_looked_after_though_the_line_is_busy() {
        let (said, heard) = channel();
        let looking = said.clone();
        let line = Line::start_with("test", Duration::ZERO, move || looking.send("looked").unwrap()).unwrap();
        let (let_go, held) = channel::<()>();
        let first = said.clone();
        line.put(move || {
            held.recv().unwrap();
            first.send("first").unwrap();
        });
        // The next stands in the line before the first is done, so that it is never idle between the two.
        line.put(move || said.send("second").unwrap());
        let_go.send(()).unwrap();
        drop(line);
        let order: Vec<&str> = heard.iter().collect();
        let at = |word: &str| order.iter().position(|said| *said == word).unwrap();
        assert!(order[at("first")..at("second")].contains(&"looked"), "{order:?}");
    }
}
