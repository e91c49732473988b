//! From the name of an action to what does it.

use std::cell::{Cell, RefCell};

use super::members::{Members, speakable};
use super::{
    ApiError, Asked, Asker, Body, Touched, audit, instances, keys, lists, password, policies, rotation, secrets, tags,
    values,
};
use crate::secret::{Action, Action as A};
use crate::vault::{Target, Vault};

/// What an action does with its members.
type Act = fn(&mut Asked<'_>, &mut Members<'_>) -> Result<Body, ApiError>;

/// One action.
struct Row {
    name: &'static str,
    /// What guards it.
    action: Action,
    /// Whether it may change something: then it is done in the order of all other changes, and once.
    changes: bool,
    act: Act,
}

const fn reads(name: &'static str, action: Action, act: Act) -> Row {
    Row { name, action, changes: false, act }
}

const fn changing(name: &'static str, action: Action, act: Act) -> Row {
    Row { name, action, changes: true, act }
}

/// All actions that are answered.
const ACTIONS: &[Row] = &[
    changing("CreateSecret", A::CreateSecret, values::create),
    changing("PutSecretValue", A::PutSecretValue, values::put),
    changing("DestroySecretVersion", A::DestroySecretVersion, values::destroy_version),
    reads("GetSecretValue", A::GetSecretValue, values::get),
    reads("BatchGetSecretValue", A::GetSecretValue, values::get_batch),
    reads("DescribeSecret", A::DescribeSecret, secrets::describe),
    reads("ListSecrets", A::ListSecrets, lists::secrets),
    reads("ListSecretVersionIds", A::ListSecretVersionIds, lists::versions),
    changing("UpdateSecret", A::UpdateSecret, secrets::update),
    changing("UpdateSecretVersionStage", A::UpdateSecretVersionStage, secrets::move_stage),
    changing("DeleteSecret", A::DeleteSecret, secrets::delete),
    changing("PurgeSecret", A::ForceDeleteSecret, secrets::purge),
    changing("RestoreSecret", A::RestoreSecret, secrets::restore),
    reads("GetRandomPassword", A::GetRandomPassword, password::random),
    changing("TagResource", A::TagResource, tags::tag_one),
    changing("UntagResource", A::UntagResource, tags::untag_one),
    changing("TagResources", A::TagResource, tags::tag_many),
    changing("UntagResources", A::UntagResource, tags::untag_many),
    reads("ListTagResources", A::ListTagResources, tags::list),
    reads("GetSecretPolicy", A::GetSecretPolicy, policies::get),
    changing("SetSecretPolicy", A::SetSecretPolicy, policies::set),
    changing("RotateSecret", A::RotateSecret, rotation::rotate),
    changing("CancelSecretRotation", A::RotateSecret, rotation::cancel),
    changing("UpdateSecretRotationPolicy", A::UpdateSecretRotationPolicy, rotation::set_policy),
    changing("CreateKey", A::CreateKey, keys::create),
    reads("DescribeKey", A::DescribeKey, keys::describe),
    reads("ListKeys", A::ListKeys, keys::list),
    changing("EnableKey", A::EnableKey, keys::enable),
    changing("DisableKey", A::DisableKey, keys::disable),
    changing("UpdateKeyDescription", A::UpdateKeyDescription, keys::set_description),
    changing("ScheduleKeyDeletion", A::ScheduleKeyDeletion, keys::schedule),
    changing("CancelKeyDeletion", A::CancelKeyDeletion, keys::cancel),
    changing("DestroyKey", A::DestroyKey, keys::destroy),
    changing("RotateKey", A::RotateKey, keys::rotate),
    reads("ListKeyVersions", A::ListKeyVersions, keys::list_versions),
    changing("MoveSecretToKey", A::UpdateSecret, keys::move_secret),
    reads("ListKmsInstances", A::DescribeInstance, instances::list_instances),
    reads("ListAuditRecords", A::ReadAudit, audit::list),
    reads("VerifyAuditRecords", A::ReadAudit, audit::verify),
    reads("GetKmsInstance", A::DescribeInstance, instances::get_instance),
    changing("UpdateKmsInstance", A::UpdateInstance, instances::update),
    reads("GetKeyPolicy", A::GetKeyPolicy, policies::get_of_key),
    changing("SetKeyPolicy", A::SetKeyPolicy, policies::set_of_key),
    reads("TestSecretPolicy", A::GetSecretPolicy, policies::test),
];

/// Actions of KMS that generic secrets, or this program, do not have.
const UNSUPPORTED: [(&str, &str); 1] = [("ListResourceTags", "tagging a key")];

/// The names of all actions that are answered.
pub fn actions() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().map(|row| row.name)
}

/// Whether `request` is of an action that may change something. What cannot be read changes nothing.
pub fn changes(request: &[u8]) -> bool {
    Members::parse(request).is_ok_and(|mut members| find(&mut members).is_ok_and(|row| row.changes))
}

/// What became of a request.
pub struct Ran {
    /// The action's name.
    pub name: &'static str,
    /// What guards it; `None` of a request that names none.
    pub action: Option<Action>,
    /// What it names.
    pub target: Target,
    /// The answer.
    pub outcome: Result<Body, ApiError>,
    /// What was changed.
    pub touched: Vec<Touched>,
}

/// Does what `request` asks for.
pub fn run(vault: &Vault, asker: Asker<'_>, request: &[u8]) -> Ran {
    let (row, mut members) = match Members::parse(request).and_then(|mut members| Ok((find(&mut members)?, members))) {
        Ok(found) => found,
        Err(error) => {
            let (target, touched) = (Target::default(), Vec::new());
            return Ran { name: NO_ACTION, action: None, target, outcome: Err(error), touched };
        }
    };
    let mut asked = Asked {
        vault,
        asker,
        again: false,
        touched: Vec::new(),
        target: RefCell::default(),
        told: Cell::new(false),
        by: Cell::default(),
    };
    let outcome = match row.changes.then(|| vault.has_carried_out(asker.caller.op)).transpose() {
        Ok(again) => {
            asked.again = again.unwrap_or(false);
            let outcome = (row.act)(&mut asked, &mut members);
            outcome.and_then(|body| asked.tell_granted(row).map(|()| body))
        }
        Err(error) => Err(error.into()),
    };
    let target = asked.target.into_inner();
    Ran { name: row.name, action: Some(row.action), target, outcome, touched: asked.touched }
}

impl Asked<'_> {
    /// Has it recorded that the action of `row` was granted, where nothing that it did has done so.
    fn tell_granted(&self, row: &Row) -> Result<(), ApiError> {
        let caller = self.caller();
        // A commit has a record, and so has a version that was there already.
        let by_the_vault = row.changes && (row.action == A::PutSecretValue || self.vault.has_carried_out(caller.op)?);
        if self.told.get() || by_the_vault {
            return Ok(());
        }
        Ok(self.vault.audit_granted_of(caller, row.action, &self.target.borrow())?)
    }
}

/// In the place of an action's name where there is none.
const NO_ACTION: &str = "-";

fn find(members: &mut Members<'_>) -> Result<&'static Row, ApiError> {
    let name = members.required("Action")?;
    if let Some(row) = ACTIONS.iter().find(|row| row.name == name) {
        return Ok(row);
    }
    match UNSUPPORTED.iter().find(|(known, _)| *known == name) {
        Some((_, what)) => Err(ApiError::Unsupported(what)),
        None => Err(ApiError::NoSuchAction(speakable(&name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_beforehand_what_changes_something() {
        for (request, expected) in [
            (r#"{"Action":"PutSecretValue"}"#, true),
            (r#"{"SecretName":"a","Action":"DeleteSecret"}"#, true),
            (r#"{"Action":"GetSecretValue"}"#, false),
            (r#"{"Action":"putsecretvalue"}"#, false),
            (r#"{"Action":"PutSecretValue","Action":"GetSecretValue"}"#, false),
            ("nonsense", false),
        ] {
            assert_eq!(changes(request.as_bytes()), expected, "{request}");
        }
    }
}
