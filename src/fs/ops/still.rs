//! Whether what is open to be written may still be: at each write, each read through it, and when it is stored.
//!
//! What was decided holds for the thread that it was decided on, until something changes that decisions turn on. Who stores is who
//! wrote last: a close may be another's, and a last close is nobody's.

use std::sync::Arc;

use super::{Tree, Who, record};
use crate::fs::draft::{Base, Draft, Target, Writer};
use crate::fs::errno::Fault;
use crate::fs::identity::{as_requested, cgroup_of};
use crate::fs::inode::Kind;
use crate::fs::opens::Judged;
use crate::fs::tree;
use crate::secret::{Action, Identity, Refusal, Right};
use crate::vault::{Asking, Loaded, Needs};

/// Who asks, as far as it is known.
struct Known {
    identity: Identity,
    cgroup: Option<String>,
}

impl Tree {
    /// Notes that `who` was let open the draft numbered `serial`: to write it, and with `reads` to read it.
    pub(super) fn note_opened(&self, who: Who, serial: u64, reads: bool) {
        let judged = self.judged_now(who, true);
        self.shared.opens.judge(serial, judged);
        if reads {
            self.shared.opens.judge(serial, Judged { writes: false, ..judged });
        }
    }

    /// Whether a decision on the draft holds until something changes.
    pub(super) fn stays(&self, draft: &Draft) -> bool {
        self.is_steady(draft).unwrap_or(false)
    }

    /// Decides on a write by `who`, and has it be the writer.
    pub(super) fn may_write_on(&self, who: Who, draft: &mut Draft) -> Result<(), Fault> {
        if self.stands(draft, who, true) {
            let known = draft.writer.take().filter(|writer| writer.who.tid == who.tid && writer.who.uid == who.uid);
            draft.writer = Some(known.unwrap_or(Writer { who, identity: None, cgroup: None }));
            return Ok(());
        }
        let known = Known { identity: self.known_to(who, draft, None)?, cgroup: cgroup_of(who.tid) };
        self.decide_write(who, &known, draft)?;
        self.note_judged(who, draft, true)?;
        draft.writer = Some(Writer { who, identity: Some(known.identity), cgroup: known.cgroup });
        Ok(())
    }

    /// Decides on a cut or an extension by `who`. Of what is gone, or scheduled for deletion, nothing is stored at the close.
    pub(super) fn may_cut(&self, who: Who, draft: &mut Draft) -> Result<(), Fault> {
        let Some(loaded) = self.vault.node(draft.ino.node)? else { return Ok(()) };
        let is_going = loaded.as_secret().is_some_and(|node| node.secret.deletion.is_some());
        if is_going { Ok(()) } else { self.may_write_on(who, draft) }
    }

    /// Decides on storing a draft, as whoever has written it last.
    pub(super) fn may_store(&self, draft: &Draft) -> Result<(), Fault> {
        if !draft.dirty && draft.target != Target::Text {
            // A value without a byte is refused whoever it is of.
            return Ok(());
        }
        let who = draft.writer.as_ref().map_or(draft.who, |writer| writer.who);
        if self.stands(draft, who, true) {
            return Ok(());
        }
        let before = draft.writer.as_ref();
        let identity = self.known_to(who, draft, before.and_then(|writer| writer.identity.as_ref()))?;
        let cgroup = before.and_then(|writer| writer.cgroup.clone()).or_else(|| cgroup_of(who.tid));
        self.decide_write(who, &Known { identity, cgroup }, draft)
    }

    /// Decides on a read by `who` through a draft. Its own bytes nobody keeps from who has opened it, nor from root.
    pub(super) fn may_read_on(&self, who: Who, draft: &Draft) -> Result<(), Fault> {
        let is_own = !draft.holds_stored && draft.base == Base::Whole;
        if is_own && (who.uid == draft.who.uid || who.uid == 0) {
            return Ok(());
        }
        if let Some(secret) = draft.target.secret() {
            record(&*self.loaded(secret)?)?.not_scheduled()?;
        }
        if self.stands(draft, who, false) {
            return Ok(());
        }
        let known = Known { identity: self.known_to(who, draft, None)?, cgroup: cgroup_of(who.tid) };
        let Some(action) = tree::of(draft.ino.kind).and_then(|row| row.read) else {
            return Err(Refusal::FixedEntry.into());
        };
        match draft.target.secret() {
            Some(secret) => {
                let secret = self.loaded(secret)?;
                self.decide_value(who, &known, Action::GetSecretValue, &secret, Needs::Value(Right::Read))?;
            }
            None => self.decide_text(who, &known, draft, action, Right::Read)?,
        }
        self.note_judged(who, draft, false)
    }

    fn decide_write(&self, who: Who, known: &Known, draft: &Draft) -> Result<(), Fault> {
        match draft.target.secret() {
            Some(secret) => {
                let secret = self.loaded(secret)?;
                let is_draft = record(&secret)?.is_draft();
                let action = if is_draft { Action::CreateSecret } else { Action::PutSecretValue };
                let is_there = !is_draft && !draft.target.is_new();
                let needs = if is_there { Needs::Value(Right::Write) } else { Needs::Directory(Right::Change) };
                self.decide_value(who, known, action, &secret, needs)
            }
            None => {
                let action = self.row(draft.ino.kind)?.write.ok_or(Refusal::FixedEntry)?;
                if draft.ino.kind == Kind::Tags && !matches!(draft.base, Base::Behind(_)) {
                    self.decide_text(who, known, draft, Action::UntagResource, Right::Write)?;
                }
                self.decide_text(who, known, draft, action, Right::Write)
            }
        }
    }

    fn decide_value(
        &self,
        who: Who,
        known: &Known,
        action: Action,
        secret: &Loaded,
        needs: Needs,
    ) -> Result<(), Fault> {
        let cgroup = || known.cgroup.clone();
        let asking = Asking { identity: &known.identity, account: who.account, cgroup: &cgroup };
        Ok(self.vault.may_with_key(asking, action, secret, needs).map(|_| ())?)
    }

    fn decide_text(&self, who: Who, known: &Known, draft: &Draft, action: Action, right: Right) -> Result<(), Fault> {
        let cgroup = || known.cgroup.clone();
        let asking = Asking { identity: &known.identity, account: who.account, cgroup: &cgroup };
        // Of what is gone nothing is read, and nothing stored.
        let Some(at) = self.vault.node(draft.ino.node)? else { return Ok(()) };
        let owners = tree::of(draft.ino.kind).is_some_and(|row| row.bits == tree::Bits::Owner) && right == Right::Write;
        if at.as_secret().is_some() {
            let needs = if owners { Needs::Ownership } else { Needs::Directory(right) };
            return Ok(self.vault.may(asking, action, &at, needs).map(|_| ())?);
        }
        let instance = self.loaded(at.instance_id())?;
        if owners {
            return Ok(self.vault.must_own_at(asking, action, &instance)?);
        }
        Ok(self.vault.may_at(asking, action, &instance, right)?)
    }

    /// Whether it was decided on before, and nothing has changed since.
    fn stands(&self, draft: &Draft, who: Who, writes: bool) -> bool {
        let user = (who.uid, who.gid);
        self.shared.opens.judged(draft.serial, who.tid, user, self.vault.rights(), writes).is_some()
    }

    fn note_judged(&self, who: Who, draft: &Draft, writes: bool) -> Result<(), Fault> {
        if self.is_steady(draft)? {
            self.shared.opens.judge(draft.serial, self.judged_now(who, writes));
        }
        Ok(())
    }

    fn judged_now(&self, who: Who, writes: bool) -> Judged {
        Judged { tid: who.tid, uid: who.uid, gid: who.gid, rights: self.vault.rights(), by: who.by, writes }
    }

    fn is_steady(&self, draft: &Draft) -> Result<bool, Fault> {
        match self.secret_of_draft(draft)? {
            Some(secret) => Ok(self.vault.is_steady(record(&secret)?)?),
            None => Ok(true),
        }
    }

    fn secret_of_draft(&self, draft: &Draft) -> Result<Option<Arc<Loaded>>, Fault> {
        let loaded = self.vault.node(draft.ino.node)?;
        Ok(loaded.filter(|loaded| loaded.as_secret().is_some()))
    }

    /// Who asks; whom /proc does not show (any more) is who it was before, else the user and the group of the request, where no policy has
    /// a say.
    fn known_to(&self, who: Who, draft: &Draft, before: Option<&Identity>) -> Result<Identity, Fault> {
        if let Some(secret) = self.secret_of_draft(draft)? {
            return self.as_known(who, &secret).or_else(|fault| before.cloned().ok_or(fault));
        }
        if self.view.is_some() {
            return Ok(self.identity_of(who).ok_or(Refusal::UnknownCaller)?);
        }
        Ok(self.identity_of(who).or_else(|| before.cloned()).unwrap_or_else(|| as_requested(who)))
    }
}
