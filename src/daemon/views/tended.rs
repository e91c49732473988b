//! What the keeper does about views: it mounts them, answers who asks for them, and takes them away.

use std::path::Path;

use super::{Answer, Ask, KeptView, ViewOrder};
use crate::daemon::abort;
use crate::daemon::attach::Mount;
use crate::daemon::keeper::{Keeper, Line, detach, detach_among};
use crate::daemon::mounts;
use crate::daemon::point::check_point;
use crate::daemon::tended::Worker;

/// Views that are mounted before it is looked whether there is something else to do.
const AT_ONCE: usize = 8;
/// Bytes of views that one answer tells of, and then one more: together they fit into a message.
const LISTED: usize = 24 * 1024;

impl Keeper {
    /// Answers who asks for views.
    pub fn answer_door(&mut self, worker: &Worker) {
        let Some(mut door) = self.door.take() else { return };
        door.serve(|ask| match ask {
            Ask::List { behind } => {
                let mut room = LISTED;
                let fits = |view: &&KeptView| {
                    let fits = room > 0;
                    room = room.saturating_sub(view.order.size());
                    fits
                };
                let some = self.views.iter().filter(|view| view.no > behind).take_while(fits);
                Ok(Answer::Views(some.map(|view| (view.no, view.order.clone())).collect()))
            }
            Ask::Close(point) => Ok(self.close_view(&point)),
            Ask::Open(order) => self.open_view(order).map_or_else(|why| Ok(Answer::Refused(why)), Err),
        });
        self.door = Some(door);
        self.tell_worker(worker);
    }

    pub fn tell_door(&mut self, no: u32, answer: &Answer) {
        self.door.iter_mut().for_each(|door| door.tell(no, answer));
    }

    /// Mounts some of the views that were ordered before there was anybody to serve them: who has many is not kept from all else meanwhile.
    pub fn mount_ordered(&mut self, worker: &Worker) {
        let mut opened = 0;
        while opened < AT_ONCE
            && let Some(order) = self.ordered.pop_front()
        {
            let point = order.point.clone();
            match self.open_view(order) {
                Ok(_) => opened += 1,
                Err(why) => log::error!("there is no view on {}: {why}", point.display()),
            }
        }
        self.tell_worker(worker);
        if self.ordered.is_empty() && self.views.are_served() {
            self.manager.ready();
        }
    }

    /// Tells a worker that serves the whole tree of views that it does not know: until then it listens for something else.
    fn tell_worker(&mut self, worker: &Worker) {
        if worker.serves {
            self.views.tell(&worker.control);
        }
    }

    /// Mounts a view; its number, for who waits until it is served.
    fn open_view(&mut self, order: ViewOrder) -> Result<u32, String> {
        order.view().map_err(|error| error.to_string())?;
        let point = &order.point;
        let said = |error: &dyn std::fmt::Display| error.to_string();
        if self.line.as_ref().is_none_or(|line| line.said.answer.is_none()) {
            return Err("nothing is served yet".to_owned());
        }
        // To look at what is mounted there already could be to ask a worker that is not there.
        if mounts::may_be_mounted(point) {
            return Err(format!("something is mounted on {} already", point.display()));
        }
        if self
            .views
            .iter()
            .map(|view| &view.order.point)
            .chain([&self.mount.point])
            .any(|other| point.starts_with(other))
        {
            return Err(format!("{} is in a mount of this very daemon", point.display()));
        }
        check_point(point, &self.store, true).map_err(|error| said(&error))?;
        let mount = Mount { point: point.clone(), allow_other: true, read_only: false, by_bits: false };
        let line = Line::attach(&mount).map_err(|error| format!("cannot mount on {}: {error}", point.display()))?;
        log::info!("mounted {}, a view for {}", point.display(), order.principal);
        Ok(self.views.add(order, line))
    }

    fn close_view(&mut self, point: &Path) -> Answer {
        match self.views.on(point) {
            Some(view) => {
                detach(point, &view.line.said.mount);
                match mounts::device_on(point) {
                    Ok(device) if device == view.line.said.mount => {
                        Answer::Refused("it could not be unmounted; the daemon's log says why".to_owned())
                    }
                    Ok(_) | Err(_) => Answer::Done,
                }
            }
            None => Answer::Refused(format!("there is no view on {}", point.display())),
        }
    }

    /// Takes all views out of the tree. Who has files of one open goes on until the daemon ends.
    pub fn detach_views(&self) {
        match mounts::list() {
            Ok(there) => {
                self.views.iter().for_each(|view| detach_among(&there, &view.order.point, &view.line.said.mount));
            }
            Err(error) => log::error!("no view is unmounted: {error}"),
        }
    }

    /// Ends all views for everybody.
    pub fn give_up_views(&mut self) {
        self.detach_views();
        for view in std::mem::take(&mut self.views).iter() {
            if !view.line.has_ended()
                && let Err(error) = abort::end(&view.line.said.mount)
            {
                log::warn!("the connection of the view on {} could not be ended: {error}", view.order.point.display());
            }
        }
    }
}
