//! What a secret is and what may happen to it.
//!
//! Pure: no I/O, no clock, no randomness, no log. A verb takes the record, the request and the time, and answers a
//! [`Change`] or a [`Refusal`]. The rules and limits are those of KMS generic secrets; where KMS leaves a choice, the
//! choice is written beside the rule.
//!
//! Reading order: `refusal` (every reason to say no) and `code` (what KMS calls it), `name`, `version`, `stage`, `tag`, `policy`, `key`,
//! `members`, `deletion`, `instance` (the words, each parsed once at the edge), `action`, `access`, `decision` (who may do what), `record` (a secret), `change` (the
//! verbs), `rotation` (by a function).

mod access;
mod action;
mod change;
mod code;
mod decision;
mod deletion;
mod instance;
mod key;
mod members;
mod name;
mod policy;
mod record;
mod refusal;
mod rotation;
mod stage;
mod tag;
mod version;

pub use access::{Access, Identity, Right};
pub use action::Action;
pub use change::{
    Change, Put, PutOutcome, Terms, create, delete, description, destroy_version, move_stage, move_to_key, put,
    remove_stage, rename_stage, restore, set_description, set_key, set_policy, set_tags,
};
pub use decision::{Denial, Grant, Standing, decide, decide_use};
pub use deletion::{Deletion, RecoveryWindow};
pub use instance::{InstanceState, Quota, parse_shares, render_shares};
pub use key::{KEY_VERSIONS_MAX, KeyOrder, KeyState, KeyWindow, KeyWord, may_be_deleted, may_be_destroyed};
pub use members::{Edit, Edited, Fields, MEMBERS_MAX, MemberName, Object, edit, write_object};
pub use name::{Component, InstanceName, KeyName, RESERVED, SecretName};
pub use policy::{Account, Circumstances, Cited, Effect, POLICY_MAX, Policy, Subject, Verdict, default_document};
pub use record::{DESCRIPTION_MAX, LastRead, Secret};
pub use refusal::Refusal;
pub use rotation::{
    AtStep, Ended, FunctionName, Interval, Plan, Rotation, Run, RunOutcome, Step, begin_rotation, cancel_rotation,
    fail_step, next_step, put_pending, rotation_due, set_rotation,
};
pub use stage::{LABELS_MAX, StageLabel, Stages};
pub use tag::{TAGS_MAX, TagKey, TagValue, Tags};
pub use version::{DataType, VALUE_MAX, VERSIONS_MAX, Version, VersionId};
