//! Decisions told to the audit: each before it takes effect.
//!
//! Changes are told where all of them come through, in [`Vault::commit`], and values where they leave, in [`Vault::disclose`]: no verb
//! can forget either. Refusals and texts are told by the surface that meets them. A vault without a trail records nothing.

use std::borrow::Cow;

use super::batch::Batch;
use super::boot::new_op;
use super::memory::may_wait;
use super::{Caller, Loaded, Node, Vault, VaultError};
use crate::audit::{AuditError, Entry, Facts, Outcome, Target, Ticket, Trail, Verified, Wanted, read, verify};
use crate::crypto::AuditKey;
use crate::id::{NodeId, VersionNo};
use crate::secret::{Account, Action, Grant, Identity, MemberName, Refusal};
use crate::store::{Reservation, StoreError};
use crate::value::Value;

/// What a change is for.
#[derive(Debug, Clone)]
pub(super) struct Purpose {
    pub action: Option<Action>,
    /// A record is made of each.
    pub targets: Vec<Target>,
}

/// That a version's value was disclosed to a reader, and that there is a record of it. Nothing but [`Vault::disclose`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disclosed {
    secret: NodeId,
    no: VersionNo,
    uid: u32,
    /// The process, told from all others,
    process: (u32, u64),
    /// and the program in it: the same process may become another program.
    program: Option<(u64, u64)>,
}

/// What a record says of why something was granted: permission bits, which the kernel or the surface has held against the caller, a
/// statement of the policy, or that its time has come.
fn reason(by: Grant) -> Cow<'static, str> {
    match by {
        Grant::Mode => "mode".into(),
        Grant::Statement(n) => format!("policy statement {n}").into(),
        Grant::Due => "due".into(),
    }
}

impl Vault {
    /// The key of this store's audit.
    pub fn audit_key(&self) -> AuditKey {
        self.keyring.master.audit_key(self.keyring.store_id)
    }

    /// Number of the audit's last record that the store knows of.
    pub fn audited(&self) -> u64 {
        self.ledger.lock().head.audited
    }

    /// Has the store know how far the audit has come, so that it is found when its end is cut off. Each change does that as well.
    ///
    /// # Errors
    /// As any change.
    pub fn keep_audited(&self) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        if self.trail().is_none_or(|trail| trail.on_disk() <= ledger.head.audited) {
            return Ok(());
        }
        let nothing = Batch::new(&ledger, Purpose::upkeep());
        self.commit(&mut ledger, nothing, of_daemon("upkeep")?, Some(Reservation::standing()))
    }

    /// Has every decision told to `trail` from now on. The first one stays.
    pub fn audit_by(&self, trail: Trail) {
        let _ = self.trail.set(trail);
    }

    /// The record of all decisions; `None` where none is kept.
    pub fn trail(&self) -> Option<&Trail> {
        self.trail.get()
    }

    /// Looks at the caller, so that it is known when it closes what it writes: then it may be too late to look.
    pub fn look_at(&self, caller: Caller) {
        if let Some(trail) = self.trail() {
            trail.facts(caller.tid, caller.gesture);
        }
    }

    /// The plaintext of version `no`, for the caller, who is given all of it or the member `member` alone: there is a record of that before it is answered. The same reader's next reads
    /// through what it has open need none, which `before` proves; what is new is answered beside the value.
    ///
    /// # Errors
    /// As [`Vault::undisclosed`]; and [`VaultError::Audit`] where nobody took the record, and nothing is disclosed.
    pub fn disclose(
        &self,
        caller: Caller,
        secret: &Loaded,
        no: VersionNo,
        member: Option<&str>,
        before: &[Disclosed],
    ) -> Result<(Value, Option<Disclosed>), VaultError> {
        let value = self.undisclosed(secret, no)?;
        let told = self.tell_disclosure(caller, secret, no, member, before)?;
        self.note_read(secret.id(), caller.uid);
        Ok((value, told))
    }

    /// Whether [`Vault::disclose`] could give the value of version `no`, which is opened, and wiped.
    pub fn try_disclosure(&self, secret: &Loaded, no: VersionNo) -> Result<(), VaultError> {
        self.undisclosed(secret, no).map(drop)
    }

    /// Tells that the caller gets the bytes of version `no`, or of a member of it, which the program holds already.
    pub fn tell_disclosure(
        &self,
        caller: Caller,
        secret: &Loaded,
        no: VersionNo,
        member: Option<&str>,
        before: &[Disclosed],
    ) -> Result<Option<Disclosed>, VaultError> {
        let Some(trail) = self.trail() else { return Ok(None) };
        let facts = trail.facts(caller.tid, caller.gesture);
        let disclosed = facts.as_ref().map(|facts| Disclosed {
            secret: secret.id(),
            no,
            uid: caller.uid,
            process: (facts.tgid, facts.identity),
            program: facts.exe.as_ref().map(|exe| (exe.dev, exe.ino)),
        });
        // A reader that cannot be seen cannot be known again.
        if disclosed.is_some_and(|disclosed| before.contains(&disclosed)) {
            return Ok(None);
        }
        let mut target = self.target_of(secret)?;
        target.version = self.version(secret, no).map(|version| version.id.as_str().to_owned());
        target.member = member.map(str::to_owned);
        self.tell_trail(trail, &granted(caller, Some(Action::GetSecretValue), facts.as_deref(), &target))?;
        Ok(disclosed)
    }

    /// Tells that the caller gets to read what `action` guards of `on`.
    pub fn audit_granted(&self, caller: Caller, action: Action, on: &Loaded) -> Result<(), VaultError> {
        let Some(trail) = self.trail() else { return Ok(()) };
        let facts = trail.facts(caller.tid, caller.gesture);
        self.tell_trail(trail, &granted(caller, Some(action), facts.as_deref(), &self.target_of(on)?))
    }

    /// The same of what `target` names, which need not be there.
    pub fn audit_granted_of(&self, caller: Caller, action: Action, target: &Target) -> Result<(), VaultError> {
        let Some(trail) = self.trail() else { return Ok(()) };
        let facts = trail.facts(caller.tid, caller.gesture);
        self.tell_trail(trail, &granted(caller, Some(action), facts.as_deref(), target))
    }

    /// Whether `who` may see what all others do: root, and the user whose daemon this is.
    pub fn is_administered_by(&self, who: &Identity, account: Option<Account>) -> bool {
        account.is_none() && (who.overrides || who.uid == rustix::process::geteuid().as_raw())
    }

    /// Tells that the caller did not get what it asked for: a rule said no, or something has failed. `code` is the KMS code of the
    /// one, or the errno's name of the other; `why` is what it is told.
    ///
    /// # Errors
    /// Where nobody took the record. The caller's answer is a refusal all the same.
    pub fn audit_refusal(
        &self,
        caller: Caller,
        action: Option<Action>,
        target: &Target,
        outcome: Outcome,
        code: &str,
        why: &str,
    ) -> Result<(), VaultError> {
        let Some(trail) = self.trail() else { return Ok(()) };
        let facts = trail.facts(caller.tid, caller.gesture);
        let entry = granted(caller, action, facts.as_deref(), target);
        self.tell_trail(trail, &Entry { outcome, code: Some(code), reason: why.into(), ..entry })
    }

    /// The names of what `loaded` is, as far as they can be told.
    pub fn target(&self, loaded: &Loaded) -> Target {
        self.target_of(loaded).unwrap_or_default()
    }

    /// The same.
    ///
    /// # Errors
    /// Where a name is to be had with a wait alone: a record must not lack it for that.
    fn target_of(&self, loaded: &Loaded) -> Result<Target, VaultError> {
        let name = |id| match self.node(id) {
            Ok(Some(instance)) => Ok(instance.as_instance().map(|instance| instance.name.as_str().to_owned())),
            Err(error) if error.would_wait() => Err(error),
            Ok(None) | Err(_) => Ok(None),
        };
        let secret = match &loaded.node {
            Node::Secret(node) => Some(node.secret.name.as_str().to_owned()),
            Node::Directory(directory) => Some(directory.name.as_str().to_owned()),
            Node::Key(key) => Some(format!(".keys/{}", key.name.as_str())),
            Node::Root(_) | Node::Instance(_) | Node::Rotation(_) => None,
        };
        let instance = match &loaded.node {
            Node::Root(_) => None,
            Node::Instance(instance) => Some(instance.name.as_str().to_owned()),
            Node::Key(_) | Node::Directory(_) | Node::Secret(_) | Node::Rotation(_) => name(loaded.instance_id())?,
        };
        Ok(Target { instance, secret, ..Target::default() })
    }

    /// The records that are wanted, in order.
    pub fn audit_records(&self, wanted: &Wanted) -> Result<Vec<serde_json::Value>, VaultError> {
        reads_files()?;
        let (dir, head) = self.trail().and_then(|trail| Some((trail.dir()?, trail.head()))).ok_or(AuditError::Off)?;
        Ok(read(dir, head.as_ref(), wanted)?)
    }

    /// Walks over the whole chain.
    pub fn audit_verify(&self) -> Result<Verified, VaultError> {
        reads_files()?;
        let (dir, head) = self.trail().and_then(|trail| Some((trail.dir()?, trail.head()))).ok_or(AuditError::Off)?;
        Ok(verify(dir, &self.audit_key(), head.as_ref())?)
    }

    /// For `action` on the node `id`.
    pub(super) fn purpose(&self, action: Action, id: NodeId) -> Result<Purpose, VaultError> {
        Ok(Purpose::new(action, self.target(&*self.existing(id)?)))
    }

    /// Tells of a change that is about to be committed.
    pub(super) fn tell_of_change(&self, caller: Caller, purpose: &Purpose) -> Result<Ticket, VaultError> {
        let mut ticket = Ticket::default();
        let Some(trail) = self.trail() else { return Ok(ticket) };
        let facts = trail.facts(caller.tid, caller.gesture);
        for target in &purpose.targets {
            let body = trail.body(&granted(caller, purpose.action, facts.as_deref(), target));
            ticket = ticket.and(trail.tell_of_change(body)?);
        }
        Ok(ticket)
    }

    /// Tells that what was told of did not come to be, or may not have.
    pub(super) fn tell_of_failure(&self, caller: Caller, purpose: &Purpose, why: &str) {
        for target in &purpose.targets {
            let told = self.audit_refusal(caller, purpose.action, target, Outcome::Failed, "InternalFailure", why);
            if let Err(error) = told {
                log::error!("the audit has a change as granted that was not made: {error}");
            }
        }
    }

    /// Waits until the record of a change is on the disk.
    ///
    /// # Errors
    /// Where it may not be. The change is made all the same.
    pub(super) fn wait_told(&self, ticket: Ticket) -> Result<(), VaultError> {
        let Some(trail) = self.trail() else { return Ok(()) };
        Ok(trail.wait(ticket)?)
    }

    /// Tells that a version, or a member of it, was written again with its own bytes: nothing changes, and its writer knows them.
    pub(super) fn tell_of_replay(
        &self,
        caller: Caller,
        secret: &Loaded,
        no: VersionNo,
        member: Option<&MemberName>,
    ) -> Result<(), VaultError> {
        let Some(trail) = self.trail() else { return Ok(()) };
        let mut target = self.target(secret);
        target.version = self.version(secret, no).map(|version| version.id.as_str().to_owned());
        target.member = member.map(|name| name.as_str().to_owned());
        let facts = trail.facts(caller.tid, caller.gesture);
        let entry = granted(caller, Some(Action::PutSecretValue), facts.as_deref(), &target);
        self.tell_trail(trail, &Entry { reason: "the same bytes again".into(), ..entry })
    }

    fn tell_trail(&self, trail: &Trail, entry: &Entry<'_>) -> Result<(), VaultError> {
        let body = trail.body(entry);
        if may_wait() {
            // A record of what changes nothing is synced in its time.
            let _ticket = trail.tell(body)?;
        } else {
            trail.tell_at_once(&body)?;
        }
        Ok(())
    }
}

impl Purpose {
    /// For `action` on what `target` names.
    pub fn new(action: Action, target: Target) -> Self {
        Self { action: Some(action), targets: vec![target] }
    }

    /// Of nobody's decision, so there is no record of it.
    pub fn upkeep() -> Self {
        Self { action: None, targets: Vec::new() }
    }

    /// For `action` on many, which are named as they come.
    pub fn of_many(action: Action) -> Self {
        Self { action: Some(action), targets: Vec::new() }
    }
}

/// Refuses who may not wait for a disk.
fn reads_files() -> Result<(), VaultError> {
    if may_wait() { Ok(()) } else { Err(StoreError::WouldWait.into()) }
}

/// The daemon itself, for what nobody has asked it for.
pub(super) fn of_daemon(gesture: &'static str) -> Result<Caller, VaultError> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Ok(Caller { uid, gid, tid: 0, op: new_op()?, gesture, account: None, by: Grant::Mode })
}

fn granted<'a>(caller: Caller, action: Option<Action>, facts: Option<&'a Facts>, target: &'a Target) -> Entry<'a> {
    Entry {
        op: caller.op,
        action,
        gesture: caller.gesture,
        outcome: Outcome::Granted,
        code: None,
        reason: reason(caller.by),
        account: caller.account,
        uid: caller.uid,
        gid: caller.gid,
        tid: caller.tid,
        facts,
        target,
    }
}

impl From<AuditError> for VaultError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Busy => VaultError::Store(StoreError::WouldWait),
            AuditError::Untold(_) | AuditError::Unsynced | AuditError::Off | AuditError::Unreadable(_) => {
                VaultError::Audit(error)
            }
        }
    }
}

/// What the audit has of a refusal.
pub fn outcome_of(refusal: Option<&Refusal>) -> Outcome {
    if refusal.is_some() { Outcome::Denied } else { Outcome::Failed }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt as _;
    use std::os::unix::net::UnixDatagram;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;
    use crate::audit::{Origin, SEGMENT, Settings, WitnessKind};
    use crate::crypto::{KdfParams, Source};
    use crate::store::MemoryStore;
    use crate::vault::{AccessChange, Owner, init, unlock};

    /// A vault whose audit lies on a disk that can be made to fail.
    struct Room {
        vault: Vault,
        dir: tempfile::TempDir,
        fails: Arc<AtomicBool>,
        listener: UnixDatagram,
    }

    impl Room {
        fn new(witness: Option<WitnessKind>, fails_open: bool) -> Self {
            let (store, dir) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
            let source = Source::KeyFile(&[1; 32]);
            init(&*store, &source, KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
            let vault = unlock(store, &source).unwrap();
            let socket = dir.path().join("socket");
            let listener = UnixDatagram::bind(&socket).unwrap();
            let settings = Settings {
                dir: Some(dir.path().join("audit")),
                witness,
                socket: Some(socket),
                fails_open,
                segment: SEGMENT,
            };
            let (key, facts) = (vault.audit_key(), Box::new(|_, _| None));
            let origin = Origin { key, known: vault.audited(), account: "1".to_owned(), own_uid: 0, facts };
            let fails = Arc::new(AtomicBool::new(false));
            let (when, synced) = (fails.clone(), AtomicU64::new(0));
            // As a kernel does: what it cannot write it says once, and then it may have dropped it.
            let to_disk = move |file: &File| {
                let (from, end) = (synced.load(Ordering::SeqCst), file.metadata()?.len());
                if when.load(Ordering::SeqCst) {
                    file.write_all_at(&vec![0; usize::try_from(end - from).unwrap()], from)?;
                    return Err(io::Error::from_raw_os_error(libc::EIO));
                }
                synced.store(end, Ordering::SeqCst);
                file.sync_data()
            };
            vault.audit_by(Trail::start_with(settings, origin, Box::new(to_disk)).unwrap());
            Self { vault, dir, fails, listener }
        }

        fn fail(&self, fails: bool) {
            self.fails.store(fails, Ordering::SeqCst);
        }

        /// Gives the root the mode `mode`, and the answer; whether it has it by then.
        fn change(&self, mode: u16) -> (Result<(), VaultError>, bool) {
            let caller = Caller {
                uid: 0,
                gid: 0,
                tid: 0,
                op: new_op().unwrap(),
                gesture: "test",
                account: None,
                by: Grant::Mode,
            };
            let outcome = self.vault.set_access(
                caller,
                NodeId::ROOT,
                AccessChange { dir_mode: Some(mode), ..AccessChange::default() },
            );
            (outcome, self.vault.root().unwrap().access.dir_mode == mode)
        }

        fn verified(&self) -> Verified {
            self.vault.audit_verify().unwrap()
        }
    }

    #[test]
    fn a_change_whose_record_is_not_on_the_disk_is_no_success() {
        let room = Room::new(None, false);
        assert!(matches!(room.change(0o700), (Ok(()), true)));
        room.fail(true);
        let (outcome, made) = room.change(0o701);
        assert!(matches!(outcome, Err(VaultError::Audit(AuditError::Unsynced))) && made, "{outcome:?}");
        for mode in [0o702, 0o703] {
            let (outcome, made) = room.change(mode);
            assert!(matches!(outcome, Err(VaultError::Audit(AuditError::Untold(_)))) && !made, "{outcome:?}");
        }
        assert_eq!(room.vault.trail().unwrap().status()["state"], "blocked");
        assert_eq!(
            room.vault.audited(),
            2,
            "the segment's first and the first change: what may be lost is not counted on"
        );
        room.fail(false);
        assert!(matches!(room.change(0o704), (Ok(()), true)));
        // The segment's first, the three that were made, and the gap: what was dropped was written again.
        let verified = room.verified();
        assert_eq!((verified.defect, verified.records), (None, 5));
        assert_eq!(std::fs::read_dir(room.dir.path().join("audit")).unwrap().count(), 1, "in its place");
    }

    #[test]
    fn a_second_sink_or_who_fails_open_makes_it_one() {
        let room = Room::new(Some(WitnessKind::Syslog), false);
        room.fail(true);
        for mode in [0o701, 0o702] {
            assert!(matches!(room.change(mode), (Ok(()), true)));
            let mut heard = [0; 4096];
            let len = room.listener.recv(&mut heard).unwrap();
            assert!(std::str::from_utf8(&heard[..len]).unwrap().contains("\"granted\""));
        }
        assert_eq!(room.vault.trail().unwrap().status()["state"], "elsewhere");
        let room = Room::new(None, true);
        room.fail(true);
        for mode in [0o701, 0o702] {
            assert!(matches!(room.change(mode), (Ok(()), true)));
        }
        room.fail(false);
        assert!(matches!(room.change(0o703), (Ok(()), true)));
        assert_eq!(room.verified().defect, None);
    }
}
