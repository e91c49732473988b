//! Version numbers promised to writers: a file that is being written has an inode number, and that carries the number of
//! the version it will be.

use parking_lot::Mutex;

use super::{Vault, VaultError};
use crate::id::{NodeId, VersionNo};
use crate::secret::{Refusal, Secret, VersionId};

/// One number kept for whoever writes `id`.
struct Promise {
    secret: NodeId,
    id: VersionId,
    no: VersionNo,
    /// Open files that rely on it.
    holders: usize,
    /// One of them has stored its version: the number is given, and comes to no other, though that version roll away.
    spent: bool,
}

/// All promises. They are as many as files of versions are being written, so a list will do.
#[derive(Default)]
pub(super) struct Promises(Mutex<Vec<Promise>>);

impl Vault {
    /// The number that version `id` of `secret` will have once it is written, kept until [`Vault::release_version`]. Two
    /// who write one id at once get one number.
    pub fn promise_version(&self, secret: NodeId, id: &VersionId) -> Result<VersionNo, VaultError> {
        let loaded = self.existing(secret)?;
        let record = &loaded.as_secret().ok_or(VaultError::Unreadable { node: secret })?.secret;
        let mut promises = self.promises.0.lock();
        if let Some(promise) = promises.iter_mut().find(|promise| promise.secret == secret && promise.id == *id) {
            promise.holders += 1;
            return Ok(promise.no);
        }
        let no = free_number(&promises, secret, record)?;
        promises.push(Promise { secret, id: id.clone(), no, holders: 1, spent: false });
        Ok(no)
    }

    /// Keeps the promise of number `no` for version `id` that another process gave; it ends as one of this process.
    pub fn promise_again(&self, secret: NodeId, id: &VersionId, no: VersionNo) -> Result<(), VaultError> {
        let loaded = self.existing(secret)?;
        let record = &loaded.as_secret().ok_or(VaultError::Unreadable { node: secret })?.secret;
        let mut promises = self.promises.0.lock();
        if let Some(promise) = promises.iter_mut().find(|promise| promise.secret == secret && promise.no == no) {
            promise.holders += 1;
        } else {
            // A number below the record's next may have been given; if it was not, nothing is lost but that number.
            promises.push(Promise { secret, id: id.clone(), no, holders: 1, spent: no.0 < record.next_no });
        }
        Ok(())
    }

    /// Ends one [`Vault::promise_version`].
    pub fn release_version(&self, secret: NodeId, no: VersionNo) {
        let mut promises = self.promises.0.lock();
        if let Some(at) = promises.iter().position(|promise| promise.secret == secret && promise.no == no) {
            promises[at].holders -= 1;
            if promises[at].holders == 0 {
                promises.swap_remove(at);
            }
        }
    }

    /// The number for a version that was promised `promised`, if that is still to be had, or that was promised none.
    pub(super) fn number_for(
        &self,
        secret: NodeId,
        record: &Secret,
        promised: Option<VersionNo>,
    ) -> Result<VersionNo, VaultError> {
        let promises = self.promises.0.lock();
        let is_spent = |no: VersionNo| {
            promises.iter().any(|promise| promise.secret == secret && promise.no == no && promise.spent)
        };
        // It may also be in the record unnoted: its commit was not known to have happened.
        match promised.filter(|no| !is_spent(*no) && record.version_no(*no).is_none()) {
            Some(no) => Ok(no),
            None => free_number(&promises, secret, record),
        }
    }

    /// Notes that a version with the promised number `no` was stored.
    pub(super) fn spend_version(&self, secret: NodeId, no: VersionNo) {
        let mut promises = self.promises.0.lock();
        for promise in promises.iter_mut().filter(|promise| promise.secret == secret && promise.no == no) {
            promise.spent = true;
        }
    }
}

/// One above all that are used or promised.
fn free_number(promises: &[Promise], secret: NodeId, record: &Secret) -> Result<VersionNo, VaultError> {
    let promised = promises.iter().filter(|promise| promise.secret == secret).map(|promise| promise.no.0 + 1).max();
    let no = VersionNo(promised.unwrap_or(0).max(record.next_no));
    if no > VersionNo::MAX { Err(Refusal::OutOfNumbers.into()) } else { Ok(no) }
}
