//! Removing. Unlinking `current` is DeleteSecret; from then on the secret's own entries can be removed without effect, so
//! that every `rm -r` comes to its end. Nothing that is removed here is ever purged.

use super::{Tree, Who, record};
use crate::fs::errno::Fault;
use crate::fs::inode::{Ino, Kind};
use crate::id::NodeId;
use crate::secret::{Action, Refusal, Right, StageLabel};

/// What a secret's entries may come to, by the life of their secret.
enum Life {
    /// It has versions and is not scheduled: nothing of it goes by itself.
    Live,
    /// No version yet: it goes with its directory.
    Draft,
    /// In the trash: what is still seen of it goes without effect.
    Scheduled,
}

impl Tree {
    /// Removes the file or link `name` in `parent`.
    pub fn unlink(&self, who: Who, parent: Ino, name: &[u8]) -> Result<(), Fault> {
        self.may_change()?;
        let Some(ino) = self.found(who.op, parent, name)? else { return Ok(()) };
        let who = match ino.kind {
            Kind::Scratch => self.permit_scratch(who, parent).map(|()| who)?,
            Kind::Stage => self.permit_names(who, parent, Action::UpdateSecretVersionStage)?,
            // To take a member out of a live secret is to put a version.
            Kind::Field => who,
            _ => self.permit_names(who, parent, Action::DeleteSecret)?,
        };
        match ino.kind {
            Kind::Scratch => {
                self.change_scratches(Some(who.op)).remove(ino.ordinal);
                Ok(())
            }
            Kind::Current => Ok(self.vault.schedule_deletion(who.caller(), ino.node)?),
            Kind::Stage => match self.life(ino.node)? {
                Life::Live => Ok(self.vault.remove_stage(who.caller(), ino.node, &StageLabel::parse(name)?, None)?),
                Life::Draft | Life::Scheduled => Ok(()),
            },
            Kind::Field => match self.life(ino.node)? {
                Life::Live => self.remove_member(who, parent, name),
                Life::Draft | Life::Scheduled => self.permit_names(who, parent, Action::DeleteSecret).map(|_| ()),
            },
            Kind::Version
            | Kind::Dotenv
            | Kind::Tags
            | Kind::Policy
            | Kind::Description
            | Kind::Rotation
            | Kind::Cmk
            | Kind::Info => match self.life(ino.node)? {
                Life::Live => Err(Refusal::FixedEntry.into()),
                Life::Draft | Life::Scheduled => Ok(()),
            },
            Kind::TrashedInfo | Kind::TrashedState => Err(Refusal::TrashStays.into()),
            Kind::Directory | Kind::Versions | Kind::Stages | Kind::Fields => Err(Fault::IsDirectory),
            _ => Err(Refusal::FixedEntry.into()),
        }
    }

    /// Removes the directory `name` in `parent`.
    pub fn remove_directory(&self, who: Who, parent: Ino, name: &[u8]) -> Result<(), Fault> {
        self.may_change()?;
        let Some(ino) = self.found(who.op, parent, name)? else { return Ok(()) };
        let who = match ino.kind {
            Kind::Directory => {
                self.permit_way(who, &self.loaded(parent.node)?, Right::Change, Action::DeleteSecret)?;
                self.permit_access(who, &self.loaded(ino.node)?)?
            }
            _ => self.permit_names(who, parent, Action::DeleteSecret)?,
        };
        match ino.kind {
            Kind::Directory => {
                let secret = self.place(ino)?.secret.id();
                self.vault.remove_directory(who.caller(), ino.node)?;
                let mut scratches = self.change_scratches(Some(who.op));
                scratches.remove_in(ino);
                for kind in [Kind::Versions, Kind::Stages, Kind::Fields] {
                    scratches.remove_in(Ino::new(secret, kind));
                }
                Ok(())
            }
            Kind::Versions | Kind::Stages | Kind::Fields => match self.life(ino.node)? {
                Life::Live if ino.kind == Kind::Fields => Err(Refusal::FixedEntry.into()),
                Life::Live => Err(Refusal::NotEmpty.into()),
                Life::Draft | Life::Scheduled => {
                    self.vault.renew_entries(who.caller(), ino.node)?;
                    self.change_scratches(Some(who.op)).remove_in(ino);
                    Ok(())
                }
            },
            Kind::Instance => Err(Refusal::InstanceStays.into()),
            Kind::Trashed => Err(Refusal::TrashStays.into()),
            Kind::InstanceControl | Kind::Keys | Kind::Key | Kind::Trash | Kind::Control => {
                Err(Refusal::FixedEntry.into())
            }
            _ => Err(Fault::NotDirectory),
        }
    }

    fn life(&self, secret: NodeId) -> Result<Life, Fault> {
        let loaded = self.loaded(secret)?;
        let secret = record(&loaded)?;
        Ok(match (secret.deletion.is_some(), secret.is_draft()) {
            (true, _) => Life::Scheduled,
            (false, true) => Life::Draft,
            (false, false) => Life::Live,
        })
    }
}
