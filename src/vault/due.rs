//! What ends by itself when its time has come: scheduled secrets, and scheduled keys.
//!
//! Some at a time, so that whoever writes meanwhile waits for one commit at most, and the log is emptied once behind all of them.
//! Invariant: nothing ends before its time by both clocks, which is asked again where it is done, and what was restored by then stays.

use super::audited::{Purpose, of_daemon};
use super::batch::Batch;
use super::error::is_made;
use super::purges::Purges;
use super::{Caller, Vault, VaultError};
use crate::id::NodeId;
use crate::secret::{Action, Grant, Refusal, Version};
use crate::store::Reservation;
use crate::time::{Moment, Steady};

/// What one commit writes at most, a few more aside: as much as every engine takes at once.
const OPS: usize = 80;
/// Most nodes that are ended at a time.
const NOTED: usize = 16 * 1024;

/// A secret that was purged when its time had come, and the directory that outlives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// It was this node.
    pub secret: NodeId,
    /// Of its name, where others stand below it, or nobody has removed it: it has a draft again.
    pub directory: Option<NodeId>,
}

/// What has come to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// Secrets that were purged.
    pub secrets: u64,
    /// Keys that were destroyed.
    pub keys: u64,
    /// Secrets and keys that are due and could not be ended.
    pub failed: u64,
}

impl Vault {
    /// Purges the secrets and destroys the keys that are due. `go_on` is asked between two commits, and may take its time; where it says no, the
    /// rest waits for the next call. It costs next to nothing where nothing is due.
    ///
    /// # Errors
    /// Where not even the first few could be looked for or ended; what fails by itself is counted.
    pub fn end_what_is_due(&self, mut go_on: impl FnMut() -> bool) -> Result<Ended, VaultError> {
        let mut ended = Ended::default();
        let outcome = self.end_secrets(&mut ended, &mut go_on).and_then(|()| self.end_keys(&mut ended, &mut go_on));
        // What has ended has ended, though something behind it did not.
        if ended.secrets + ended.keys > 0 {
            self.owe_shredding();
            self.shred_what_is_owed();
            self.look_for_purges();
        }
        outcome.map(|()| ended)
    }

    fn end_secrets(&self, ended: &mut Ended, go_on: &mut impl FnMut() -> bool) -> Result<(), VaultError> {
        self.end_those_due(&self.purges, go_on, |ids| self.purge_some(ids, ended))
    }

    fn end_keys(&self, ended: &mut Ended, go_on: &mut impl FnMut() -> bool) -> Result<(), VaultError> {
        self.end_those_due(&self.key_ends, go_on, |ids| self.end_a_key(ids, ended))
    }

    /// Has `end` end those of `sort` that are due, some at a time, which it takes out of the list.
    fn end_those_due(
        &self,
        sort: &Purges,
        go_on: &mut impl FnMut() -> bool,
        mut end: impl FnMut(&mut Vec<NodeId>) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        if !sort.may_be_due(self.moment()?) {
            return Ok(());
        }
        sort.see_to();
        let seen = self.due(sort).and_then(|Due { mut ids, held }| {
            let all = ids.len() < NOTED;
            while !ids.is_empty() {
                if !go_on() {
                    return Ok(None);
                }
                end(&mut ids)?;
            }
            Ok(all.then_some(held))
        });
        match seen {
            Ok(Some(held)) => sort.seen_to(held),
            // The rest comes next time.
            Ok(None) => sort.leave(),
            Err(error) => {
                sort.leave();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Purges as many of `ids`, from the last on, as one commit takes.
    fn purge_some(&self, ids: &mut Vec<NodeId>, ended: &mut Ended) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let now = self.moment()?;
        let mut batch = Batch::new(&ledger, Purpose::of_many(Action::ForceDeleteSecret));
        let mut gone = Vec::new();
        while let Some(id) = ids.pop() {
            match self.put_purge(&mut batch, id, now) {
                Ok(Some(purged)) => gone.push(purged),
                Ok(None) => {}
                // It is in nobody else's way.
                Err(error) if error.is_damage() => {
                    log::error!("the secret of node {} is due, and is not purged: {error}", id.0);
                    ended.failed += 1;
                }
                Err(error) => return Err(error),
            }
            if batch.size() >= OPS {
                break;
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let outcome = self.commit(&mut ledger, batch, of_time()?, Some(Reservation::standing()));
        for (purged, versions) in &gone {
            self.dropped(purged.secret, versions);
            if is_made(&outcome) {
                self.drop_pinned(purged.secret);
                self.purged.lock().push(*purged);
                ended.secrets += 1;
            }
        }
        outcome
    }

    /// Secrets that were purged since this was last asked: whoever shows the tree has shown others in their place.
    pub fn take_purged(&self) -> Vec<Purged> {
        std::mem::take(&mut *self.purged.lock())
    }

    /// The purge of secret `id`, in `batch`: the directory that outlives it, and its versions; `None` where it is not due any more.
    fn put_purge(
        &self,
        batch: &mut Batch,
        id: NodeId,
        now: Moment,
    ) -> Result<Option<(Purged, Vec<Version>)>, VaultError> {
        let Some(loaded) = self.node(id)? else { return Ok(None) };
        let Some(record) = loaded.as_secret().map(|node| &node.secret) else { return Ok(None) };
        if !record.deletion.as_ref().is_some_and(|deletion| deletion.due().has_come(now)) {
            return Ok(None);
        }
        // What is damaged shows here, before anything of it stands in the batch.
        let directory = self.give_new_draft(batch, loaded.instance_id(), record)?;
        self.put_end(batch, &loaded, record)?;
        batch.also_for(self.target(&loaded));
        Ok(Some((Purged { secret: id, directory }, record.versions.clone())))
    }

    /// Destroys the last of `ids`.
    fn end_a_key(&self, ids: &mut Vec<NodeId>, ended: &mut Ended) -> Result<(), VaultError> {
        let Some(id) = ids.pop() else { return Ok(()) };
        match self.end_key(of_time()?, id) {
            Ok(()) => ended.keys += 1,
            // It was taken back meanwhile.
            Err(VaultError::Refused(Refusal::KeyNotScheduled | Refusal::KeyNotDue { .. } | Refusal::NotFound)) => {}
            Err(error) => {
                log::error!("the key of node {} is due, and is not destroyed: {error}", id.0);
                ended.failed += 1;
            }
        }
        Ok(())
    }

    /// Those of `sort` that are due by both clocks, some of them where there are many.
    fn due(&self, sort: &Purges) -> Result<Due, VaultError> {
        let now = self.moment()?;
        let mut due = Due { ids: Vec::new(), held: None };
        self.each_planned(sort, |id, end| {
            if end.has_come(now) {
                due.ids.push(id);
            } else {
                due.held = Some(due.held.map_or(end.steady, |held: Steady| held.min(end.steady)));
            }
            due.ids.len() < NOTED
        })?;
        Ok(due)
    }
}

/// What is due.
struct Due {
    ids: Vec<NodeId>,
    /// The steady clock's time at which the first of the others is due by it.
    held: Option<Steady>,
}

/// The daemon, for what is due.
fn of_time() -> Result<Caller, VaultError> {
    Ok(Caller { by: Grant::Due, ..of_daemon("due")? })
}
