//! Every reason to say no, once: each has a KMS code, a message that names the thing and never its value, and often a hint.
//! The errno of each stands in `fs/errno.rs`.

use super::{KeyName, SecretName, StageLabel, VersionId};
use crate::time::Timestamp;

/// Why a request was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the name has {what}; a name is 1 to {max} of the characters A-Z a-z 0-9 _ + = . @ - and does not begin with a dot"
    )]
    BadName { what: &'static str, max: usize },
    #[error(
        "the name is too long: a secret's has at most 192 bytes with its directories and slashes, an instance's, a version's and a label's 64"
    )]
    NameTooLong,
    #[error("`{0}` is the name of an entry of every secret")]
    ReservedName(String),
    #[error("names that begin with `acs/` belong to managed secrets")]
    ManagedName,
    #[error("there is no such instance")]
    NoSuchInstance,
    #[error("the instance has no key named `{}`", name.as_str())]
    NoSuchKey { name: KeyName },
    #[error("there is no such secret")]
    NotFound,
    #[error("the secret has no such version")]
    NoSuchVersion,
    #[error("the secret has no such label")]
    NoSuchLabel,
    #[error("the name is taken")]
    NameTaken,
    #[error("the name belongs to a secret that is scheduled for deletion")]
    NameScheduled,
    #[error("the secret is scheduled for deletion at {purge_at}")]
    InDeleteWindow { purge_at: Timestamp },
    #[error("the secret is not scheduled for deletion")]
    NotScheduled,
    #[error("a deleted secret comes back under its own name, `{}`", expected.as_str())]
    WrongRestoreName { expected: SecretName },
    #[error("version `{}` exists and holds other bytes; versions are written once", id.as_str())]
    VersionExists { id: VersionId },
    #[error("the secret has no number left for a version")]
    OutOfNumbers,
    #[error("a value has at least one byte; truncating a file makes no version")]
    EmptyValue,
    #[error("a value has at most 30,720 bytes")]
    ValueTooLong,
    #[error("ACSCurrent and ACSPrevious can be moved, never removed")]
    BuiltInLabel,
    #[error("a secret has at most 8 labels, ACSCurrent and ACSPrevious among them")]
    TooManyLabels,
    #[error("the label cannot stand beside `{}`, with which it shares an inode number", other.as_str())]
    LabelTwin { other: StageLabel },
    #[error("the label is not on the version it was to be taken from")]
    LabelElsewhere,
    #[error("a label is a link to a version of its own secret, as `../versions/v1`")]
    BadLink,
    #[error("line {line} is no tag: a key of 1 to 128 and a value of 0 to 128 letters, digits or / \\ _ - . + = : @")]
    BadTagLine { line: usize },
    #[error("line {line}: tag keys that begin with `aliyun` or `acs:` belong to the system")]
    ReservedTag { line: usize },
    #[error("line {line} gives a tag's key for the second time")]
    DuplicateTag { line: usize },
    #[error("a secret has at most 20 tags")]
    TooManyTags,
    #[error("a recovery window is a number of days from 7 to 30")]
    BadWindow,
    #[error("the only word taken here is `{word}`")]
    BadState { word: &'static str },
    #[error("a policy has at most 32,768 bytes")]
    PolicyTooLong,
    #[error("the policy cannot be read: {why}")]
    BadPolicy { why: String },
    #[error("only the default policy is taken until policies are enforced")]
    PolicyNotEnforced,
    #[error("a description has at most 8,192 bytes")]
    DescriptionTooLong,
    #[error("the text of this entry has at most 65,536 bytes")]
    TextTooLong,
    #[error("a description is UTF-8 text without control characters")]
    BadDescription,
    #[error("the key is chosen before the first version and stays")]
    KeyChosen,
    #[error("the secret's key is disabled")]
    KeyDisabled,
    #[error("the secret's key is scheduled for deletion")]
    KeyPendingDeletion,
    #[error("the directory holds a secret or other directories")]
    NotEmpty,
    #[error("this entry belongs to what holds it and cannot be removed, renamed or replaced")]
    FixedEntry,
    #[error("an instance cannot be removed")]
    InstanceStays,
    #[error("nothing is removed from the trash by hand: it waits for its restore or its purge")]
    TrashStays,
    #[error("owner and bits of this entry are those of its directory")]
    FollowsDirectory,
    #[error("a secret's directory cannot be renamed")]
    CannotRename,
    #[error("`{0}` is no entry of a secret, so a file of that name would not be kept")]
    NotAnEntry(String),
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    #[error("a user has at most 64 files open that were written and not closed")]
    TooManyDrafts,
    #[error("a file in memory becomes a value or a text only by who owns it")]
    NotYourScratch,
    #[error("scratch files have at most 256 KiB each, and 64 of them per user")]
    ScratchLimit,
}

impl Refusal {
    /// The official KMS error code.
    pub fn code(&self) -> &'static str {
        use Refusal::*;
        match self {
            BadName { .. }
            | NameTooLong
            | ReservedName(_)
            | ManagedName
            | WrongRestoreName { .. }
            | EmptyValue
            | ValueTooLong
            | BadLink
            | BadWindow
            | BadState { .. }
            | PolicyTooLong
            | BadPolicy { .. }
            | DescriptionTooLong
            | TextTooLong
            | BadDescription
            | NotAnEntry(_) => "InvalidParameter",
            NoSuchInstance => "Forbidden.DKMSInstanceNotFound",
            NoSuchKey { .. } => "Forbidden.KeyNotFound",
            NotFound | NoSuchVersion | NoSuchLabel => "Forbidden.ResourceNotFound",
            NameTaken | VersionExists { .. } => "Rejected.ResourceExist",
            NameScheduled | InDeleteWindow { .. } => "Rejected.ResourceInDeleteWindow",
            NotScheduled | NotEmpty => "Rejected.ResourceInUse",
            OutOfNumbers | TooManyLabels | LabelTwin { .. } | TooManyTags | TooManyDrafts | ScratchLimit => {
                "Rejected.LimitExceeded"
            }
            BuiltInLabel | FixedEntry | InstanceStays | TrashStays | FollowsDirectory | CannotRename => {
                "Rejected.UnsupportedOperation"
            }
            LabelElsewhere => "Rejected.InvalidRequest",
            BadTagLine { .. } | ReservedTag { .. } => "InvalidParameter.TagKey",
            DuplicateTag { .. } => "Duplicate.TagKey",
            PolicyNotEnforced | Unsupported(_) => "UnsupportedOperation",
            KeyChosen => "Rejected.StateModifiedFailed",
            NotYourScratch => "Forbidden.NoPermission",
            KeyDisabled => "Rejected.Disabled",
            KeyPendingDeletion => "Rejected.PendingDeletion",
        }
    }

    /// The HTTP status that KMS sends with the code.
    pub fn http_status(&self) -> u16 {
        let code = self.code();
        match code {
            "Forbidden.ResourceNotFound" | "Forbidden.KeyNotFound" => 404,
            "Forbidden.DKMSInstanceNotFound" | "Forbidden.NoPermission" => 403,
            "Rejected.ResourceExist"
            | "Rejected.ResourceInDeleteWindow"
            | "Rejected.ResourceInUse"
            | "Rejected.StateModifiedFailed"
            | "Rejected.Disabled"
            | "Rejected.PendingDeletion" => 409,
            _ => 400,
        }
    }

    /// What to do about it, where there is more to say than the message does.
    pub fn hint(&self) -> Option<&'static str> {
        use Refusal::*;
        match self {
            NameScheduled => Some("`mv` it out of .deleted/ to restore it, or `echo purge` into its state there"),
            InDeleteWindow { .. } => Some("`mv` it out of .deleted/ to restore it"),
            WrongRestoreName { .. } => Some("mv -T .deleted/NAME to the path it was deleted from"),
            VersionExists { .. } => Some("write the new value to another name under versions/, or to current"),
            CannotRename => Some("make another secret, write the value there, and `rm -r` this one"),
            NoSuchKey { .. } => Some("`ls` the instance's .keys/ for those there are"),
            NotAnEntry(_) => Some("`mkdir` the secret, then write its `current`"),
            PolicyNotEnforced => Some("use the owner, group and mode of the secret's directory"),
            KeyChosen => Some("make another secret, and choose its key while it has no version"),
            NotEmpty => Some("`rm -r` schedules a secret's deletion"),
            FixedEntry => Some("it comes and goes with the secret, instance or mount it belongs to"),
            InstanceStays => Some("`rm -r` deletes its secrets"),
            TrashStays => Some("`mv` it to where it was to restore it, or `echo purge` into its state"),
            FollowsDirectory => Some("`chmod` or `chown` the directory it is in"),
            LabelTwin { .. } => Some("give the label another name"),
            TooManyLabels | TooManyTags => Some("remove one first"),
            BadName { .. }
            | NameTooLong
            | ReservedName(_)
            | ManagedName
            | NoSuchInstance
            | NotFound
            | NoSuchVersion
            | NoSuchLabel
            | NameTaken
            | NotScheduled
            | OutOfNumbers
            | EmptyValue
            | ValueTooLong
            | BuiltInLabel
            | LabelElsewhere
            | BadLink
            | BadTagLine { .. }
            | ReservedTag { .. }
            | DuplicateTag { .. }
            | BadWindow
            | BadState { .. }
            | PolicyTooLong
            | BadPolicy { .. }
            | DescriptionTooLong
            | TextTooLong
            | BadDescription
            | KeyDisabled
            | KeyPendingDeletion
            | Unsupported(_)
            | NotYourScratch
            | TooManyDrafts
            | ScratchLimit => None,
        }
    }
}
