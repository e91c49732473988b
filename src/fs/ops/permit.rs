//! Who may do what with an entry, where the kernel's decision is not all there is: a policy has a say, the way shows others bits that it
//! has not, or who asks is of another account.
//!
//! Invariant: whatever opens, lists, makes, changes or removes an entry asks here first, and what is open to be written asks `still`.
//! LOOKUP, GETATTR and READLINK do not: they refuse nobody. A file in memory is opened by its own bits, and read as what it is a copy of.

use std::sync::Arc;

use super::{Tree, Who, record};
use crate::fs::errno::Fault;
use crate::fs::identity::{as_requested, cgroup_of};
use crate::fs::inode::{Ino, Kind};
use crate::fs::opens::Judged;
use crate::fs::view::Shown;
use crate::id::NodeId;
use crate::secret::{Account, Action, Identity, Refusal, Right};
use crate::vault::{Asking, Loaded, Needs};

/// What somebody may be let come for to a secret's directory: whichever of it, files in memory are made there on the way.
const WRITES: [Action; 4] = [Action::PutSecretValue, Action::TagResource, Action::UpdateSecret, Action::DeleteSecret];
/// x in every class.
const PASS: u16 = 0o111;
/// r in every class.
const READ: u16 = 0o444;
/// w in every class.
const WRITE: u16 = 0o222;

impl Tree {
    /// The account of whoever comes through this mount, where that is not the store's.
    pub fn account(&self) -> Option<Account> {
        self.account
    }

    /// Lets `who` do `action` with a secret, and says what lets it.
    pub(super) fn permit(&self, who: Who, action: Action, secret: &Loaded, needs: Needs) -> Result<Who, Fault> {
        // A rename onto an entry has had the kernel look at the directory, not at whose the entry is.
        if self.view.is_none() && needs != Needs::Ownership && self.vault.kernel_decides(who.account, secret)? {
            return Ok(who);
        }
        self.judge(who, &self.as_known(who, secret)?, action, secret, needs)
    }

    /// The same of an action that reads or writes a value: its key is asked besides.
    pub(super) fn permit_value(&self, who: Who, action: Action, secret: &Loaded, needs: Needs) -> Result<Who, Fault> {
        let permitted = self.permit(who, action, secret, needs)?;
        let record = record(secret)?;
        if let Some(of_key) = action.of_key()
            && self.vault.key_asks(who.account, record)?
        {
            let identity = self.known(who)?;
            self.vault.may_use_key(self.asking(who, &identity, &cgroup(who)), of_key, record.key)?;
        }
        Ok(permitted)
    }

    /// Refuses who is of another account: what is of the whole store is its own's.
    pub(super) fn refuse_guest(&self, who: Who, action: Action) -> Result<(), Fault> {
        match who.account {
            None => Ok(()),
            Some(_) => {
                let why = "it is of the whole store";
                Err(Refusal::OtherAccount { action: action.name(), why }.into())
            }
        }
    }

    /// Decides on what is open already: nobody has held anything against whoever reads or writes it now.
    pub(super) fn permit_again(&self, who: Who, action: Action, secret: &Loaded, needs: Needs) -> Result<Who, Fault> {
        let identity = self.as_known(who, secret)?;
        let by = self.vault.may_with_key(self.asking(who, &identity, &cgroup(who)), action, secret, needs)?;
        Ok(Who { by, ..who })
    }

    /// Decides whether `who`, which has a value of `secret` open and asks nothing now, may read it. Where a policy has a say, whom /proc
    /// does not show may not.
    pub(super) fn permit_holder(&self, who: Who, secret: &Loaded) -> Result<(), Fault> {
        self.permit_again(who, Action::GetSecretValue, secret, Needs::Value(Right::Read)).map(|_| ())
    }

    /// Who asks, as far as that is known. Where no policy has a say, whom /proc does not show is the user and the group of the request,
    /// in no other group: the kernel has let somebody open the file by no more than that.
    pub(super) fn as_known(&self, who: Who, secret: &Loaded) -> Result<Identity, Fault> {
        let record = record(secret)?;
        let by_bits = self.view.is_none()
            && who.account.is_none()
            && record.policy.is_none()
            && !self.vault.key_asks(None, record)?;
        match self.identity_of(who) {
            Some(identity) => Ok(identity),
            None if by_bits => Ok(as_requested(who)),
            None => Err(Refusal::UnknownCaller.into()),
        }
    }

    fn judge(
        &self,
        who: Who,
        identity: &Identity,
        action: Action,
        secret: &Loaded,
        needs: Needs,
    ) -> Result<Who, Fault> {
        let by = self.vault.may(self.asking(who, identity, &cgroup(who)), action, secret, needs)?;
        Ok(Who { by, ..who })
    }

    fn asking<'a>(&self, who: Who, identity: &'a Identity, cgroup: &'a dyn Fn() -> Option<String>) -> Asking<'a> {
        Asking { identity, account: who.account, cgroup }
    }

    /// What was decided on a value for `who`, for as long as nothing has changed that it turned on; `None` where that may be at any
    /// moment.
    pub(super) fn judged(&self, who: Who, rights: u64, secret: &Loaded) -> Result<Option<Judged>, Fault> {
        let is_steady = self.vault.is_steady(record(secret)?)?;
        Ok(is_steady.then_some(Judged { tid: who.tid, uid: who.uid, gid: who.gid, rights, by: who.by, writes: false }))
    }

    /// Lets `who` do `action` with the file `ino`: read it, or with `writes` write it.
    pub(super) fn permit_text(&self, who: Who, ino: Ino, action: Action, writes: bool) -> Result<Who, Fault> {
        let right = if writes { Right::Write } else { Right::Read };
        match ino.kind {
            // Its bits let its owner alone write it.
            Kind::Policy if writes => {
                let secret = self.loaded(ino.node)?;
                self.permit(who, action, &secret, Needs::Ownership)
            }
            Kind::Tags
            | Kind::Policy
            | Kind::Description
            | Kind::Rotation
            | Kind::Cmk
            | Kind::Info
            | Kind::TrashedInfo
            | Kind::TrashedState => {
                let secret = self.loaded(ino.node)?;
                self.permit(who, action, &secret, Needs::Directory(right))
            }
            Kind::InstanceInfo | Kind::InstanceState | Kind::Shares | Kind::AccessQuota | Kind::RecoveryWindow => {
                self.permit_way(who, &self.loaded(ino.node)?, right, action)
            }
            Kind::KeyInfo | Kind::KeyState | Kind::KeyPolicy => {
                let instance = self.loaded(self.loaded(ino.node)?.instance_id())?;
                self.permit_way(who, &instance, right, action)
            }
            // What the mount says of itself, to everybody, or what asks at a door of its own; that a directory is none of these is
            // for whoever opens it to say.
            _ => Ok(who),
        }
    }

    /// Lets `who` write the text `ino`; with `adds` only more of it.
    pub(super) fn permit_write_of_text(&self, who: Who, ino: Ino, adds: bool) -> Result<Who, Fault> {
        let action = self.row(ino.kind)?.write.ok_or(Refusal::FixedEntry)?;
        if ino.kind == Kind::Tags && !adds {
            self.permit_text(who, ino, Action::UntagResource, true)?;
        }
        self.permit_text(who, ino, action, true)
    }

    /// Lets `who` have `right` at an instance or a directory, of which no policy speaks.
    pub(super) fn permit_way(&self, who: Who, at: &Arc<Loaded>, right: Right, action: Action) -> Result<Who, Fault> {
        if let Some(account) = who.account {
            self.vault.guest_may(account, action, at, right)?;
        }
        if self.view.is_some() || self.vault.is_widened(at)? {
            let asking = Asking { identity: &self.known(who)?, account: who.account, cgroup: &|| None };
            self.vault.may_at(asking, action, at, right)?;
        }
        Ok(who)
    }

    /// Lets `who` change owner or bits of what `at` is, which the kernel has found to be its own.
    pub(super) fn permit_access(&self, who: Who, at: &Arc<Loaded>) -> Result<Who, Fault> {
        let made_by = at.as_directory().and_then(|directory| directory.account);
        match who.account {
            Some(account) if made_by != Some(account) => {
                let action = Action::UpdateSecret.name();
                Err(Refusal::OtherAccount { action, why: "it is not its own" }.into())
            }
            Some(_) | None => self.permit_way(who, at, Right::Pass, Action::UpdateSecret),
        }
    }

    /// Lets `who` list the directory `ino`.
    pub fn open_directory(&self, who: Who, ino: Ino) -> Result<(), Fault> {
        if let Some(view) = &self.view
            && self.shown_here(view, ino)? == Shown::Way
        {
            // It lists what the view was made to show.
            return Ok(());
        }
        match ino.kind {
            Kind::Directory => {
                let place = self.place(ino)?;
                let secret = record(&place.secret)?;
                let asks = secret.policy.is_some() || who.account.is_some() && !secret.is_draft();
                if asks && secret.deletion.is_none() {
                    self.permit(who, Action::ListSecrets, &place.secret, Needs::Directory(Right::Read))?;
                } else {
                    self.permit_way(who, &place.directory, Right::Read, Action::DescribeInstance)?;
                }
            }
            Kind::Versions | Kind::Stages | Kind::Fields => {
                let secret = self.loaded(ino.node)?;
                self.permit(who, Action::ListSecretVersionIds, &secret, Needs::Directory(Right::Read))?;
            }
            Kind::Trashed => {
                let secret = self.loaded(ino.node)?;
                self.permit(who, Action::DescribeSecret, &secret, Needs::Directory(Right::Read))?;
            }
            Kind::Trash => {
                let instance = self.loaded(ino.node)?;
                self.permit_way(who, &instance, Right::Pass, Action::DescribeInstance)?;
            }
            Kind::Instance | Kind::InstanceControl | Kind::Keys => {
                let instance = self.loaded(ino.node)?;
                self.permit_way(who, &instance, Right::Read, Action::DescribeInstance)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Lets `who` make or remove names in `parent` for `action`: a policy may let it where that is a secret's own directory.
    pub(super) fn permit_names(&self, who: Who, parent: Ino, action: Action) -> Result<Who, Fault> {
        match parent.kind {
            Kind::Versions | Kind::Stages | Kind::Fields => {
                let secret = self.loaded(parent.node)?;
                self.permit(who, action, &secret, Needs::Directory(Right::Change))
            }
            Kind::Directory => {
                let secret = self.place(parent)?.secret;
                self.permit(who, action, &secret, Needs::Directory(Right::Change))
            }
            // What is in all others is made by gestures that ask by themselves, or stays.
            _ => Ok(who),
        }
    }

    /// Lets `who` make a file in memory in `parent`, on its way to whichever of the entries there it may write.
    pub(super) fn permit_scratch(&self, who: Who, parent: Ino) -> Result<(), Fault> {
        let actions: &[Action] = match parent.kind {
            Kind::Versions | Kind::Fields => &[Action::PutSecretValue],
            Kind::Stages => &[Action::UpdateSecretVersionStage],
            _ => &WRITES,
        };
        let mut refused = Ok(());
        for action in actions {
            match self.permit_names(who, parent, *action) {
                Ok(_) => return Ok(()),
                Err(fault) => refused = Err(fault),
            }
        }
        refused
    }

    /// The bits that `ino` shows beside its own, so that the kernel lets those come whom a policy may allow it.
    pub(super) fn opened_bits(&self, ino: Ino) -> Result<u16, Fault> {
        match ino.kind {
            Kind::Root | Kind::Instance => Ok(passage(&*self.loaded(ino.node)?)),
            Kind::Directory => {
                let directory = self.loaded(ino.node)?;
                if directory.passages() == 0 {
                    return Ok(0);
                }
                let secret = self.vault.secret_of(&directory)?;
                Ok(passage(&directory) | self.opened(&secret, &[Action::ListSecrets], &WRITES)?)
            }
            Kind::Trashed => {
                let secret = self.loaded(ino.node)?;
                let bits = self.opened(&secret, &[Action::DescribeSecret], &[])?;
                Ok(if bits == 0 { 0 } else { bits | PASS })
            }
            Kind::Versions | Kind::Stages | Kind::Fields => {
                let (secret, row) = (self.loaded(ino.node)?, self.row(ino.kind)?);
                let bits = self.opened(&secret, row.read.as_slice(), row.write.as_slice())?;
                Ok(if self.opens_anything(&secret)? { bits | PASS } else { bits })
            }
            Kind::Current
            | Kind::Version
            | Kind::Field
            | Kind::NewField
            | Kind::Dotenv
            | Kind::Tags
            | Kind::Description
            | Kind::Rotation
            | Kind::Cmk
            | Kind::Info
            | Kind::TrashedInfo
            | Kind::TrashedState => {
                let (secret, row) = (self.loaded(ino.node)?, self.row(ino.kind)?);
                let write: &[Action] = if ino.kind == Kind::Cmk { &[] } else { row.write.as_slice() };
                self.opened(&secret, row.read.as_slice(), write)
            }
            _ => Ok(0),
        }
    }

    fn opened(&self, secret: &Loaded, reads: &[Action], writes: &[Action]) -> Result<u16, Fault> {
        let record = record(secret)?;
        if record.policy.is_none() {
            return Ok(0);
        }
        let mut bits = 0;
        for (actions, right) in [(reads, READ), (writes, WRITE)] {
            for action in actions {
                bits |= if self.vault.opens(record, *action)? { right } else { 0 };
            }
        }
        Ok(bits)
    }

    fn opens_anything(&self, secret: &Loaded) -> Result<bool, Fault> {
        Ok(self.opened(secret, Action::ALL, &[])? != 0)
    }

    /// Who asks, to permission bits and policies.
    fn known(&self, who: Who) -> Result<Identity, Fault> {
        Ok(self.identity_of(who).ok_or(Refusal::UnknownCaller)?)
    }

    /// Notes that the kernel has to ask again for the bits of the directories that `ids` are.
    pub(super) fn bits_changed(&self, ids: Vec<NodeId>) {
        let mut stale = self.shared.stale.lock();
        for id in ids {
            stale.attrs.push(match self.vault.node(id) {
                _ if id == NodeId::ROOT => Ino::ROOT,
                Ok(Some(loaded)) if loaded.as_instance().is_some() => Ino::new(id, Kind::Instance),
                _ => Ino::new(id, Kind::Directory),
            });
        }
    }
}

fn passage(at: &Loaded) -> u16 {
    if at.passages() > 0 { PASS } else { 0 }
}

fn cgroup(who: Who) -> impl Fn() -> Option<String> {
    move || cgroup_of(who.tid)
}
