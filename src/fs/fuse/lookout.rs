//! Where it is looked up who can still write to a file. A look at a program with thousands of descriptors or descendants takes
//! long, so each user who has something to be looked at has a thread for it: what one user's programs take to look at holds
//! up no other's close.
//!
//! Invariant: a user is in the table exactly while its thread runs, and that ends with the last of its looks.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The looks of all users.
#[derive(Clone, Default)]
pub struct Lookout(Arc<Mutex<HashMap<u32, User>>>);

/// What is to be looked at for one user.
#[derive(Default)]
struct User {
    looks: Vec<Job>,
    /// Rings when one comes.
    bell: Arc<Condvar>,
}

/// A look, not to be taken before when.
struct Job {
    due: Instant,
    take: Box<dyn FnOnce() + Send>,
}

impl Lookout {
    /// Takes a look for user `uid` once `delay` is over; those that are due are taken in the order in which they became so.
    pub fn put_after(&self, uid: u32, delay: Duration, take: impl FnOnce() + Send + 'static) {
        let job = Job { due: Instant::now() + delay, take: Box::new(take) };
        let mut users = self.0.lock();
        if let Some(user) = users.get_mut(&uid) {
            user.looks.push(job);
            user.bell.notify_one();
            return;
        }
        users.entry(uid).or_default().looks.push(job);
        drop(users);
        let lookout = self.clone();
        let thread = thread::Builder::new().name("kmsfs-lookout".to_owned());
        if let Err(error) = thread.spawn(move || lookout.work(uid)) {
            log::warn!("no thread can be started to look at the processes of uid {uid}: {error}");
            // Late for everybody, but not lost.
            self.work(uid);
        }
    }

    /// Takes the looks of user `uid`, until there are none.
    fn work(&self, uid: u32) {
        while let Some(job) = self.next(uid) {
            (job.take)();
        }
    }

    /// The look of user `uid` that is due, once one is; `None` when there is none left, and then the user is forgotten.
    fn next(&self, uid: u32) -> Option<Job> {
        let mut users = self.0.lock();
        loop {
            let user = users.get_mut(&uid)?;
            let Some((at, due)) = user.looks.iter().map(|job| job.due).enumerate().min_by_key(|(_, due)| *due) else {
                users.remove(&uid);
                return None;
            };
            if due <= Instant::now() {
                return Some(user.looks.remove(at));
            }
            let bell = user.bell.clone();
            bell.wait_until(&mut users, due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn users_do_not_wait_for_each_other() {
        let lookout = Lookout::default();
        let (let_go, held) = channel::<()>();
        let (said, heard) = channel();
        let say = |word: &'static str| {
            let said = said.clone();
            move || said.send(word).unwrap()
        };
        let long = say("long");
        lookout.put_after(1, Duration::ZERO, move || {
            held.recv().unwrap();
            long();
        });
        lookout.put_after(1, Duration::from_millis(300), say("late"));
        lookout.put_after(1, Duration::ZERO, say("next"));
        lookout.put_after(2, Duration::ZERO, say("another's"));
        assert_eq!(heard.recv().unwrap(), "another's");
        let_go.send(()).unwrap();
        drop(said);
        assert_eq!(heard.iter().collect::<Vec<_>>(), ["long", "next", "late"]);
    }
}
