//! What the keeper holds of views: their connections, and which of them the worker serves already.
//!
//! A worker is told of a few at a time and answers for each before it is told of the next: so neither waits for room in the socket while the
//! other does.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use super::ViewOrder;
use crate::daemon::handover::{Connected, Control, FILES_MAX, ToWorker};
use crate::daemon::keeper::Line;

/// Views that a worker is told of before it has answered.
const WINDOW: usize = 16;

/// All of them.
#[derive(Default)]
pub struct Kept {
    views: Vec<KeptView>,
    /// The number of the last one.
    last: u32,
    /// Whether the worker knows that it serves all that there were when it came.
    all_told: bool,
}

/// One of them.
pub struct KeptView {
    /// Its number, which no other one of this daemon ever has.
    pub no: u32,
    pub order: ViewOrder,
    pub line: Line,
    stands: Stands,
}

/// How it stands to the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Untold,
    Told,
    Served,
}

/// What is handed over of one to another program, beside its device.
#[derive(Serialize, Deserialize)]
struct Said {
    no: u32,
    order: ViewOrder,
    connected: Connected,
}

impl Kept {
    /// One more; its number.
    pub fn add(&mut self, order: ViewOrder, line: Line) -> u32 {
        self.last += 1;
        self.views.push(KeptView { no: self.last, order, line, stands: Stands::Untold });
        self.last
    }

    pub fn iter(&self) -> impl Iterator<Item = &KeptView> {
        self.views.iter()
    }

    /// The one on `point`.
    pub fn on(&self, point: &Path) -> Option<&KeptView> {
        self.views.iter().find(|view| view.order.point == point)
    }

    /// It is no more.
    pub fn remove(&mut self, no: u32) -> Option<KeptView> {
        let at = self.views.iter().position(|view| view.no == no)?;
        Some(self.views.remove(at))
    }

    /// Whether the worker serves all of them.
    pub fn are_served(&self) -> bool {
        self.views.iter().all(|view| view.stands == Stands::Served)
    }

    /// Another worker has come, which knows of none. Those whose mount is gone meanwhile are given up.
    pub fn begin_anew(&mut self) {
        self.views.retain(|view| !view.line.has_ended());
        self.views.iter_mut().for_each(|view| view.stands = Stands::Untold);
        self.all_told = false;
    }

    /// Tells the worker of those that it does not know, as many as it may be told of now.
    pub fn tell(&mut self, worker: &Control) {
        let told = self.views.iter().filter(|view| view.stands == Stands::Told).count();
        let untold = self.views.iter_mut().filter(|view| view.stands == Stands::Untold);
        for view in untold.take(WINDOW.saturating_sub(told)) {
            view.stands = Stands::Told;
            let word = ToWorker::View { no: view.no, order: view.order.clone(), connected: view.line.said.clone() };
            // One that is gone is followed by another, which is told again.
            if let Err(error) = worker.send(&word, &[view.line.device.as_fd()]) {
                log::error!("the worker is not told of the view on {}: {error}", view.order.point.display());
            }
        }
        if !self.all_told && self.views.iter().all(|view| view.stands == Stands::Served) {
            self.all_told = worker.send(&ToWorker::AllViews, &[]).is_ok();
        }
    }

    /// The worker serves it; `answer` is what the kernel was told at first.
    pub fn serves(&mut self, no: u32, answer: Vec<u8>) {
        if let Some(view) = self.views.iter_mut().find(|view| view.no == no) {
            view.stands = Stands::Served;
            view.line.said.answer = Some(answer);
            view.line.said.workers += 1;
        }
    }

    /// A file in memory with all that is said of them, and of those that are `ordered`, for another program of this process.
    pub fn to_file(&self, ordered: &VecDeque<ViewOrder>) -> io::Result<OwnedFd> {
        let said = |view: &KeptView| Said { no: view.no, order: view.order.clone(), connected: view.line.said.clone() };
        let all: Vec<Said> = self.views.iter().map(said).collect();
        let mut file = File::from(rustix::fs::memfd_create("kmsfs-views", MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(&(self.last, all, ordered))?)?;
        Ok(file.into())
    }

    /// Their devices, in parts that one message takes each.
    pub fn devices(&self) -> impl Iterator<Item = Vec<BorrowedFd<'_>>> {
        self.views.chunks(FILES_MAX).map(|some| some.iter().map(|view| view.line.device.as_fd()).collect())
    }

    /// Those of another program, and those that are ordered still: what it has said of them in `file`, and where their devices wait.
    pub fn from_file(file: OwnedFd, control: &Control) -> io::Result<(Self, VecDeque<ViewOrder>)> {
        let (mut file, mut text) = (File::from(file), Vec::new());
        file.rewind()?;
        file.read_to_end(&mut text)?;
        let (last, all, ordered): (u32, Vec<Said>, VecDeque<ViewOrder>) = serde_json::from_slice(&text)?;
        let mut devices = Vec::new();
        while devices.len() < all.len() {
            let missing = || io::Error::other("a view's device is missing");
            let ((), files) = control.receive()?.ok_or_else(missing)?;
            if files.is_empty() {
                return Err(missing());
            }
            devices.extend(files);
        }
        let view = |(said, device): (Said, OwnedFd)| KeptView {
            no: said.no,
            order: said.order,
            line: Line { device, said: said.connected },
            stands: Stands::Untold,
        };
        Ok((Self { views: all.into_iter().zip(devices).map(view).collect(), last, all_told: false }, ordered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let connected = Connected { id: [1; 8], init: vec![1, 2], answer: None, workers: 0, mount: "0:7".into() };
        Line { device: File::open("/dev/null").unwrap().into(), said: connected }
    }

    fn order(n: usize) -> ViewOrder {
        let point = format!("/run/v{n}").into();
        let (principal, only) = ("root".to_owned(), vec!["prod".to_owned()]);
        ViewOrder { point, principal, only, read_only: true, label: None, flat: false }
    }

    #[test]
    fn they_come_over_whole_to_another_program() {
        let mut kept = Kept::default();
        let count = 2 * FILES_MAX + 1;
        for n in 0..count {
            kept.add(order(n), line());
        }
        kept.remove(3);
        let (here, there) = Control::pair().unwrap();
        let ordered = VecDeque::from([order(7)]);
        let file = kept.to_file(&ordered).unwrap();
        for devices in kept.devices() {
            here.send(&(), &devices).unwrap();
        }
        let (other, still_ordered) = Kept::from_file(file, &there).unwrap();
        assert_eq!(still_ordered, ordered);
        assert_eq!((other.views.len(), other.last), (count - 1, count as u32));
        assert!(other.views.iter().zip(&kept.views).all(|(one, other)| one.no == other.no && one.order == other.order));
        assert_eq!(other.views[0].line.said, kept.views[0].line.said);
    }

    #[test]
    fn a_worker_is_told_of_some_at_a_time() {
        let (mut kept, (worker, its)) = (Kept::default(), Control::pair().unwrap());
        for n in 0..40 {
            kept.add(order(n), line());
        }
        let mut heard = Vec::new();
        for _ in 0..40 {
            kept.tell(&worker);
            assert!(kept.iter().filter(|view| view.stands == Stands::Told).count() <= WINDOW);
            let (word, files) = its.receive().unwrap().unwrap();
            let ToWorker::View { no, .. } = word else { panic!("{word:?}") };
            assert_eq!(files.len(), 1);
            heard.push(no);
            kept.serves(no, vec![7]);
        }
        assert_eq!(heard, (1..=40).collect::<Vec<u32>>());
        assert!(kept.iter().all(|view| view.stands == Stands::Served && view.line.said.workers == 1));
        kept.begin_anew();
        assert!(kept.iter().all(|view| view.stands == Stands::Untold));
    }
}
