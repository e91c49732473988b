//! What a text will be refused for, said at the write already: a shell's `echo` hears nothing of the error of a close.
//!
//! Only what no further byte could mend is refused here: lines that are complete, a document that can never be JSON. The
//! close decides as it always does.

use super::{Tree, record};
use crate::fs::errno::Fault;
use crate::fs::inode::{Ino, Kind};
use crate::secret::{self, InstanceState, KeyName, KeyWord, Plan, Quota, RecoveryWindow, Refusal, Tags, parse_shares};

impl Tree {
    /// Refuses `bytes` as the beginning of entry `ino`'s text; with `adds`, as tags beside those there are.
    pub(super) fn foresee(&self, ino: Ino, bytes: &[u8], adds: bool) -> Result<(), Fault> {
        if matches!(ino.kind, Kind::Policy | Kind::KeyPolicy) {
            return self.foresee_policy(ino, bytes);
        }
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let lines = &bytes[..=end];
        match ino.kind {
            Kind::Tags => {
                let tags = Tags::parse_file(lines)?;
                let loaded = self.loaded(ino.node)?;
                if adds {
                    record(&loaded)?.tags.merge(&tags)?;
                }
            }
            Kind::Description => {
                secret::set_description(record(&*self.loaded(ino.node)?)?, lines, self.vault.now())?;
            }
            Kind::Rotation => {
                if let Some(plan) = Plan::parse_beginning(lines)? {
                    self.vault.check_rotation(ino.node, Some(plan))?;
                }
            }
            Kind::Cmk => self.vault.check_key(ino.node, &KeyName::parse(lines.trim_ascii())?)?,
            Kind::RecoveryWindow => {
                RecoveryWindow::parse(lines)?;
            }
            Kind::InstanceState => {
                InstanceState::parse(lines)?;
            }
            Kind::AccessQuota => {
                Quota::parse(lines)?;
            }
            Kind::Shares => {
                let shares = parse_shares(lines, &self.vault.root()?.account)?;
                self.vault.check_shares(ino.node, shares)?;
            }
            Kind::KeyState => self.vault.check_key_word(ino.node, KeyWord::parse(lines)?)?,
            Kind::TrashedState if lines.trim_ascii() != b"purge" => {
                return Err(Refusal::BadState { words: "`purge`" }.into());
            }
            _ => {}
        }
        Ok(())
    }

    fn foresee_policy(&self, ino: Ino, bytes: &[u8]) -> Result<(), Fault> {
        let unfinished = serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_err_and(|error| error.is_eof());
        if !unfinished {
            self.vault.check_policy(ino.node, bytes)?;
        }
        Ok(())
    }
}
