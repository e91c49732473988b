//! Extended attributes of values, to be read: which version it is, its labels, its type, its ARN.

use super::{Tree, Who, record};
use crate::fs::errno::Fault;
use crate::fs::inode::Ino;
use crate::secret::{Action, Refusal, Right};
use crate::vault::Needs;

const VERSION: &str = "user.kmsfs.version";
const STAGES: &str = "user.kmsfs.stages";
const DATA_TYPE: &str = "user.kmsfs.data-type";
const ARN: &str = "user.kmsfs.arn";
const NAMES: [&str; 4] = [VERSION, STAGES, DATA_TYPE, ARN];

impl Tree {
    /// The names of the attributes that `ino` has, each ended by a NUL.
    pub fn xattr_names(&self, ino: Ino) -> Vec<u8> {
        let names: &[&str] = if ino.kind.is_value() { &NAMES } else { &[] };
        names.iter().flat_map(|name| name.bytes().chain([0])).collect()
    }

    /// The attribute `name` of `ino`.
    pub fn xattr(&self, who: Who, ino: Ino, name: &[u8]) -> Result<Vec<u8>, Fault> {
        let name = NAMES.iter().find(|known| known.as_bytes() == name).ok_or(Fault::NoAttribute)?;
        if !ino.kind.is_value() {
            return Err(Fault::NoAttribute);
        }
        let loaded = self.loaded(ino.node)?;
        self.permit(who, Action::ListSecretVersionIds, &loaded, Needs::Value(Right::Read))?;
        let secret = record(&loaded)?;
        let version =
            self.version_now(&loaded, ino)?.and_then(|no| self.vault.version(&loaded, no)).ok_or(Fault::NoAttribute)?;
        let text = match *name {
            VERSION => version.id.as_str().to_owned(),
            STAGES => secret.stages.of(version.no).iter().map(|label| label.as_str()).collect::<Vec<_>>().join(","),
            DATA_TYPE => version.kind.as_str().to_owned(),
            _ => self.arn(secret)?,
        };
        Ok(text.into_bytes())
    }

    /// None can be set. Tools try `system.` and `security.` ones by themselves, so only a user's own is a refusal.
    pub fn set_xattr(&self, name: &[u8]) -> Result<(), Fault> {
        if name.starts_with(b"user.") {
            return Err(Refusal::Unsupported("setting an extended attribute").into());
        }
        Err(Fault::NoSuchFeature)
    }
}
