//! Threads that may wait for a disk, for those that may not: what only looks, and was not found in memory.
//!
//! They are started as they are needed, up to a bound, and end when there has been nothing to do for a while. Jobs begin in the
//! order in which they came; how one ends says nothing of the others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Something to do.
type Job = Box<dyn FnOnce() + Send>;

/// Most threads. A disk that has not answered so many does not answer more of them sooner.
const THREADS_MAX: usize = 32;
/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// The threads, and what stands before them.
#[derive(Default)]
pub struct Pool(Arc<Shared>);

#[derive(Default)]
struct Shared {
    work: Mutex<Work>,
    bell: Condvar,
}

#[derive(Default)]
struct Work {
    jobs: VecDeque<Job>,
    threads: usize,
    /// Those of them that have nothing to do.
    idle: usize,
}

impl Pool {
    /// Has a thread do `job`.
    pub fn put(&self, job: impl FnOnce() + Send + 'static) {
        let mut work = self.0.work.lock();
        work.jobs.push_back(Box::new(job));
        if work.idle >= work.jobs.len() {
            drop(work);
            self.0.bell.notify_one();
            return;
        }
        if work.threads == THREADS_MAX {
            return;
        }
        work.threads += 1;
        let alone = work.threads == 1;
        drop(work);
        let shared = self.0.clone();
        if let Err(error) = thread::Builder::new().name("kmsfs-look".to_owned()).spawn(move || shared.work()) {
            log::warn!("no thread can be started to read from the disk: {error}");
            if alone {
                // Late for everybody, but not lost.
                self.0.work_off();
            } else {
                self.0.work.lock().threads -= 1;
            }
        }
    }
}

impl Shared {
    /// Does what stands there, and no more.
    fn work_off(&self) {
        let mut work = self.work.lock();
        while let Some(job) = work.jobs.pop_front() {
            drop(work);
            job();
            work = self.work.lock();
        }
        work.threads -= 1;
    }

    /// Does what stands there, and what comes within a while.
    fn work(&self) {
        let mut work = self.work.lock();
        loop {
            if let Some(job) = work.jobs.pop_front() {
                drop(work);
                job();
                work = self.work.lock();
                continue;
            }
            work.idle += 1;
            let late = self.bell.wait_for(&mut work, IDLE).timed_out();
            work.idle -= 1;
            if late && work.jobs.is_empty() {
                work.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn jobs_that_wait_hold_no_other_up_until_all_threads_do() {
        let pool = Pool::default();
        let (let_go, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let (said, heard) = channel();
        for _ in 1..THREADS_MAX {
            let held = held.clone();
            pool.put(move || {
                let _gone = held.lock().recv();
            });
        }
        for n in 0..100 {
            let said = said.clone();
            pool.put(move || said.send(n).unwrap());
        }
        let wait = Duration::from_secs(30);
        assert_eq!(
            (0..100).map(|_| heard.recv_timeout(wait).unwrap()).collect::<Vec<_>>(),
            (0..100).collect::<Vec<_>>()
        );
        let held = held.clone();
        pool.put(move || {
            let _gone = held.lock().recv();
        });
        pool.put(move || said.send(100).unwrap());
        assert!(heard.try_recv().is_err());
        drop(let_go);
        assert_eq!(heard.recv_timeout(wait).unwrap(), 100);
        assert!(pool.0.work.lock().threads <= THREADS_MAX);
    }
}
