//! Making directories and links.

use super::{Entry, Tree, Who, record};
use crate::fs::errno::Fault;
use crate::fs::inode::{Ino, Kind};
use crate::fs::scratch::{self, Content};
use crate::id::NodeId;
use crate::secret::{Action, Component, InstanceName, KeyName, Refusal, Right, StageLabel, VersionId};
use crate::vault::VaultError;

/// What a label's link says before the version's id.
const LINK_PREFIX: &[u8] = b"../versions/";

impl Tree {
    /// Makes an instance, a directory for a secret, or a key.
    pub fn make_directory(&self, who: Who, parent: Ino, name: &[u8], mode: u16) -> Result<Entry, Fault> {
        self.may_change()?;
        if let Some(made) = self.made_before(who, parent, name)? {
            return self.entry(who, made);
        }
        let ino = match parent.kind {
            Kind::Root => {
                let who = self.permit_way(who, &self.loaded(NodeId::ROOT)?, Right::Change, Action::UpdateInstance)?;
                let made = self.vault.make_instance(who.caller(), InstanceName::parse(name)?, mode)?;
                Ino::new(made.id(), Kind::Instance)
            }
            Kind::Instance | Kind::Directory => {
                let name = Component::parse(name)?;
                let who = self.permit_way(who, &self.loaded(parent.node)?, Right::Change, Action::CreateSecret)?;
                let made = self.vault.make_directory(who.caller(), parent.node, &name, mode)?;
                Ino::new(made.id(), Kind::Directory)
            }
            Kind::Keys => {
                let who = self.permit_way(who, &self.loaded(parent.node)?, Right::Change, Action::CreateKey)?;
                let made = self.vault.make_key(who.caller(), parent.node, KeyName::parse(name)?, "", None)?;
                Ino::new(made.id(), Kind::Key)
            }
            _ => return Err(Refusal::FixedEntry.into()),
        };
        self.entry(who, ino)
    }

    /// Makes the link `name` to `target`: in `stages/` that is a label.
    pub fn make_link(&self, who: Who, parent: Ino, name: &[u8], target: &[u8]) -> Result<Entry, Fault> {
        self.may_change()?;
        if parent.kind != Kind::Stages {
            return Err(Refusal::NotAnEntry(String::from_utf8_lossy(name).into_owned()).into());
        }
        if let Some(made) = self.made_before(who, parent, name)? {
            return self.entry(who, made);
        }
        let who = self.permit_names(who, parent, Action::UpdateSecretVersionStage)?;
        let ino = if name.starts_with(b".") {
            self.make_scratch_link(who, parent, name, target)?
        } else {
            let label = StageLabel::parse(name)?;
            let id = self.linked_version(target)?;
            self.be_apart(parent.node, &label)?;
            match self.vault.move_stage(who.caller(), parent.node, &label, &id, None) {
                Ok(()) => self.resolve(parent, name)?.ok_or(Fault::NoEntry)?,
                // `ln -sf` comes by way of a label of its own, also where all labels are taken.
                Err(VaultError::Refused(Refusal::TooManyLabels)) if scratch::is_ln_name(name) => {
                    self.make_scratch_link(who, parent, name, target)?
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.entry(who, ino)
    }

    /// Refuses a name that stands for something already, be it a file in memory; unless this very request has made it: one
    /// that comes again is answered as it was the first time.
    fn made_before(&self, who: Who, parent: Ino, name: &[u8]) -> Result<Option<Ino>, Fault> {
        match self.resolve(parent, name)? {
            None => Ok(None),
            Some(made) if self.has_carried_out(who.op)? => Ok(Some(made)),
            Some(_) => Err(Refusal::NameTaken.into()),
        }
    }

    /// Refuses a label whose inode number another label of the secret has.
    pub(super) fn be_apart(&self, secret: NodeId, label: &StageLabel) -> Result<(), Fault> {
        let loaded = self.loaded(secret)?;
        let ino = Ino::stage(secret, label);
        let twin = |other: &StageLabel| other != label && Ino::stage(secret, other) == ino;
        match record(&loaded)?.stages.iter().find(|(other, _)| twin(other)) {
            Some((other, _)) => Err(Refusal::LabelTwin { other: other.clone() }.into()),
            None => Ok(()),
        }
    }

    /// Moves label `name` of `secret` to the version that `target` names.
    pub(super) fn move_label(&self, who: Who, secret: NodeId, name: &[u8], target: &[u8]) -> Result<(), Fault> {
        let label = StageLabel::parse(name)?;
        self.be_apart(secret, &label)?;
        Ok(self.vault.move_stage(who.caller(), secret, &label, &self.linked_version(target)?, None)?)
    }

    fn make_scratch_link(&self, who: Who, parent: Ino, name: &[u8], target: &[u8]) -> Result<Ino, Fault> {
        self.linked_version(target)?;
        let content = Content::Link(target.to_vec());
        let mut scratches = self.change_scratches(Some(who.op));
        let slot = scratches.add(parent, name, content, who.uid, (who.uid, who.gid), self.vault.now())?;
        Ok(Ino::scratch(slot))
    }

    fn linked_version(&self, target: &[u8]) -> Result<VersionId, Fault> {
        let id = target.strip_prefix(LINK_PREFIX).ok_or(Refusal::BadLink)?;
        Ok(VersionId::parse(id).map_err(|_| Refusal::BadLink)?)
    }
}
