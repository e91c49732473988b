//! Data keys that come under another version of their key, or under another key: no value is sealed anew, and no version is made. And
//! those that go, since their key was destroyed.
//!
//! Behind a rotation all data keys of the key are moved to its newest version, some at a time, beside all other changes. Invariant: no
//! data key is wrapped by a version before the `oldest` that its key's record names; that rises only when a walk over all wraps has
//! come to its end and has met none. So a walk that was broken off begins anew, and passes over what is done.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use super::audited::{Purpose, of_daemon};
use super::batch::Batch;
use super::error::is_made;
use super::{Caller, Key, Node, Vault, VaultError};
use crate::crypto::{KeyRef, key_ref};
use crate::id::NodeId;
use crate::sealed::Sealed;
use crate::secret::{self, Action, KeyState, Refusal};
use crate::store::{Reservation, Row, RowId, Store as _, Table};

/// Wraps read at a time, and moved in one commit: as many as every engine takes at once.
const PAGE: usize = 100;
/// Instances, or keys, read at a time.
const LISTED: usize = 256;

/// What a walk over all wraps has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Data keys that are under the newest version now.
    pub moved: u64,
    /// Data keys that could not be moved: they are under the version that they were under.
    pub failed: u64,
    /// Data keys that were taken away: what wrapped them was destroyed.
    pub dropped: u64,
}

/// What a walk is to do with the data keys of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Those before this version are to come under it.
    Newest(u32),
    /// All of them are to go: nothing opens them any more.
    Gone,
}

impl Vault {
    /// MoveSecretToKey: the data keys of all versions of secret `id` come under the key `key` of the same instance, which new
    /// values are sealed under from now on.
    pub fn move_to_key(&self, caller: Caller, id: NodeId, key: NodeId) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let (loaded, record) = self.secret(id)?;
        let change = secret::move_to_key(&record, key, self.now())?;
        if change.secret == record {
            return Ok(());
        }
        let target = self.existing(key)?;
        if target.instance_id() != loaded.instance_id() {
            return Err(Refusal::NotFound.into());
        }
        let cmk = target.as_key().ok_or(VaultError::Unreadable { node: key })?;
        self.key_is_usable(&record)?;
        cmk.state.usable()?;
        let mut batch = Batch::new(&ledger, self.purpose(Action::UpdateSecret, id)?);
        let by = KeyRef { key, version: cmk.primary() };
        for version in &record.versions {
            let row = RowId { node: id, no: version.no.0 };
            let old = self.store.wrap(row)?.ok_or(VaultError::Lost { what: "a wrapped key", node: id })?;
            let new = self.rewrapped(loaded.instance_id(), row, &old, by)?;
            self.replace_wrap(&mut batch, row, &old, new);
        }
        self.put_change(&mut batch, &loaded, loaded.place(), &change)?;
        let outcome = self.commit(&mut ledger, batch, caller, None);
        if is_made(&outcome) {
            self.rewrap_kept(&loaded, by);
        }
        outcome
    }

    /// Moves all data keys that are under an older version of their key than its newest, if there are any. `go_on` is asked before
    /// each page, and may take its time; `None` where it said no.
    pub fn rewrap(&self, mut go_on: impl FnMut() -> bool) -> Result<Option<Rewrapped>, VaultError> {
        if !self.rewraps.swap(false, Ordering::SeqCst) {
            return Ok(Some(Rewrapped::default()));
        }
        let outcome = self.rewrap_all(&mut go_on);
        if !matches!(outcome, Ok(Some(Rewrapped { failed: 0, .. }))) {
            self.rewraps.store(true, Ordering::SeqCst);
        }
        outcome
    }

    fn rewrap_all(&self, go_on: &mut impl FnMut() -> bool) -> Result<Option<Rewrapped>, VaultError> {
        let (due, mut rewrapped, mut failing) = (self.keys_with_older_wraps()?, Rewrapped::default(), HashSet::new());
        if due.is_empty() {
            return Ok(Some(rewrapped));
        }
        let mut after = None;
        loop {
            if !go_on() {
                return Ok(None);
            }
            let rows = self.store.scan(Table::Wraps, after, PAGE)?;
            let older: Vec<RowId> = rows.iter().filter(|row| is_due(row, &due)).map(|row| row.id).collect();
            if !older.is_empty() {
                self.rewrap_some(&older, &due, &mut rewrapped, &mut failing)?;
            }
            match rows.last() {
                Some(row) if rows.len() == PAGE => after = Some(row.id),
                Some(_) | None => break,
            }
        }
        for (key, due) in due.into_iter().filter(|(key, _)| !failing.contains(key)) {
            match due {
                Due::Newest(newest) => self.note_oldest(key, newest)?,
                Due::Gone => self.take_away(key)?,
            }
        }
        if rewrapped.dropped > 0 {
            let _ledger = self.ledger()?;
            self.shred_behind_purge();
        }
        Ok(Some(rewrapped))
    }

    /// The keys that may have wrapped data keys with an older version, and those that were destroyed.
    fn keys_with_older_wraps(&self) -> Result<HashMap<NodeId, Due>, VaultError> {
        let (mut due, mut after) = (HashMap::new(), Some(NodeId(0)));
        while let Some(from) = after {
            let instances = self.children(NodeId::ROOT, from, LISTED)?;
            for instance in instances.nodes.iter().filter(|node| node.as_instance().is_some()) {
                let mut after = Some(NodeId(0));
                while let Some(from) = after {
                    let keys = match self.keys(instance.id(), from, LISTED) {
                        Err(error) if error.is_damage() => {
                            log::error!("data keys of an instance stay where they are: {error}");
                            break;
                        }
                        keys => keys?,
                    };
                    let older = keys.nodes.iter().filter_map(|node| Some((node.id(), node.as_key()?)));
                    due.extend(older.filter_map(|(id, key)| Some((id, Due::of(key)?))));
                    after = keys.next;
                }
            }
            after = instances.next;
        }
        Ok(due)
    }

    /// Moves those of `rows` that are still there and still older, in one commit.
    fn rewrap_some(
        &self,
        rows: &[RowId],
        due: &HashMap<NodeId, Due>,
        rewrapped: &mut Rewrapped,
        failing: &mut HashSet<NodeId>,
    ) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let mut batch = Batch::new(&ledger, Purpose::upkeep());
        let (mut moved, mut dropped) = (0, 0);
        for row in rows {
            match self.rewrap_older(&mut batch, *row, due) {
                Ok(Some(Due::Newest(_))) => moved += 1,
                Ok(Some(Due::Gone)) => dropped += 1,
                Ok(None) => {}
                Err(error) => {
                    log::error!("a data key of node {} stays under an older version of its key: {error}", row.node.0);
                    rewrapped.failed += 1;
                    failing.extend(self.store.wrap(*row)?.and_then(|wrap| Some(key_ref(&wrap).ok()?.key)));
                }
            }
        }
        if !batch.is_empty() {
            self.commit(&mut ledger, batch, of_daemon("upkeep")?, None)?;
        }
        rewrapped.moved += moved;
        rewrapped.dropped += dropped;
        Ok(())
    }

    /// What it has done with the data key of `row`, if that is still there and due.
    fn rewrap_older(
        &self,
        batch: &mut Batch,
        row: RowId,
        due: &HashMap<NodeId, Due>,
    ) -> Result<Option<Due>, VaultError> {
        let Some(wrap) = self.store.wrap(row)? else { return Ok(None) };
        let by = key_ref(&wrap)?;
        let Some(due) = due.get(&by.key).filter(|due| due.is_of(by)) else { return Ok(None) };
        let Some(loaded) = self.node(row.node)?.filter(|node| node.as_secret().is_some()) else { return Ok(None) };
        match due {
            Due::Newest(newest) => {
                let new = self.rewrapped(loaded.instance_id(), row, &wrap, KeyRef { version: *newest, ..by })?;
                self.replace_wrap(batch, row, &wrap, new);
            }
            Due::Gone => self.delete_wrap(batch, row)?,
        }
        Ok(Some(*due))
    }

    /// Takes away the record of a destroyed key: nothing is left that was under it.
    fn take_away(&self, key: NodeId) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let Some(loaded) = self.node(key)? else { return Ok(()) };
        let mut batch = Batch::new(&ledger, Purpose::upkeep());
        batch.delete(&loaded);
        self.commit(&mut ledger, batch, of_daemon("upkeep")?, Some(Reservation::standing()))
    }

    /// The data key in `old`, of `row` in the instance `scope`, wrapped by another key version.
    pub(super) fn rewrapped(&self, scope: NodeId, row: RowId, old: &Sealed, by: KeyRef) -> Result<Sealed, VaultError> {
        let at = self.keyring.wrap_context(scope, row);
        let dek = self.keyring.cmk(&self.store, scope, key_ref(old)?)?.unwrap_dek(at, old)?;
        Ok(self.keyring.cmk(&self.store, scope, by)?.wrap_dek(at, by, &dek)?)
    }

    /// Notes that no data key is under a version of `key` before `newest`.
    fn note_oldest(&self, key: NodeId, newest: u32) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let Some(loaded) = self.node(key)? else { return Ok(()) };
        let before = loaded.as_key().ok_or(VaultError::Unreadable { node: key })?;
        let after = Key { oldest: newest.max(before.oldest), ..before.clone() };
        let mut batch = Batch::new(&ledger, Purpose::upkeep());
        batch.put(key, loaded.place(), Node::Key(after), Some(&loaded));
        self.commit(&mut ledger, batch, of_daemon("upkeep")?, None)
    }
}

/// Whether `row` is a data key's, and something is to be done with it. What cannot be told is left
/// for whoever verifies.
fn is_due(row: &Row, due: &HashMap<NodeId, Due>) -> bool {
    key_ref(&row.sealed).is_ok_and(|by| due.get(&by.key).is_some_and(|due| due.is_of(by)))
}

impl Due {
    fn of(key: &Key) -> Option<Self> {
        match key.state {
            KeyState::Destroyed => Some(Due::Gone),
            KeyState::Enabled | KeyState::Disabled | KeyState::PendingDeletion { .. } => {
                (key.oldest < key.primary()).then(|| Due::Newest(key.primary()))
            }
        }
    }

    /// Whether it is for a data key that is wrapped by `by`.
    fn is_of(self, by: KeyRef) -> bool {
        match self {
            Due::Newest(newest) => by.version < newest,
            Due::Gone => true,
        }
    }
}
