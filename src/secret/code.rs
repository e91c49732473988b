//! What KMS calls each refusal, and what to do about it.

use super::Refusal::{self, *};

const MOVE_SECRETS: &str = "`kmsfs key move` has secrets come under another key; a deleted one must be purged first, and a draft can \
                            choose another; --force makes them unreadable";
const ANOTHER: &str = "make another secret, whose key is chosen while it has no version, and `rm -r` this one";
const RESTORE: &str = "`mv -T` it out of .deleted/ to where it was to restore it, or `echo purge` into its state there";
const PLAN: &str = "write `function=NAME`, and perhaps `every=30d`, a line each, to its `rotation`; nothing for none";
const TAKE_BACK: &str = "`echo Enabled` into the key's state, or `kmsfs key restore`, takes that back";
const AS_A_WHOLE: &str =
    "`current` takes any value as a whole, and `kmsfs put --field NAME=@FILE` texts as members, all at once";
const MAKE_ROOM: &str = "take another account out of policies and .instance/shares, or raise .instance/access-quota";

impl Refusal {
    /// The official KMS error code.
    pub fn code(&self) -> &'static str {
        match self {
            BadName { .. }
            | NameTooLong
            | ReservedName(_)
            | ManagedName
            | WrongRestoreName { .. }
            | EmptyValue
            | ValueTooLong
            | NotKeyValue
            | BadMemberName { .. }
            | BadMember
            | BadLink
            | BadWindow
            | BadKeyWindow
            | BadState { .. }
            | BadQuota
            | BadShare { .. }
            | PolicyTooLong
            | BadPolicy { .. }
            | DescriptionTooLong
            | TextTooLong
            | BadDescription
            | RequestTooLong
            | NotAnEntry(_)
            | BadRotation { .. } => "InvalidParameter",
            NoSuchInstance => "Forbidden.DKMSInstanceNotFound",
            NoSuchKey { .. } | KeyGone => "Forbidden.KeyNotFound",
            NotFound | NoSuchVersion | NoSuchLabel | NoSuchMember => "Forbidden.ResourceNotFound",
            NameTaken | VersionExists { .. } => "Rejected.ResourceExist",
            NameScheduled | InDeleteWindow { .. } => "Rejected.ResourceInDeleteWindow",
            NotScheduled | NotEmpty | KeyInUse { .. } | DefaultKey => "Rejected.ResourceInUse",
            OutOfNumbers
            | TooManyLabels
            | LabelTwin { .. }
            | TooManyMembers
            | TooManyTags
            | TooManyKeyVersions
            | TooManyDrafts
            | TooManyConversations
            | TooManyFollowers
            | ScratchLimit => "Rejected.LimitExceeded",
            BuiltInLabel | FieldsRollAway | FixedEntry | InstanceStays | TrashStays | FollowsDirectory
            | CannotRename => "Rejected.UnsupportedOperation",
            LabelElsewhere => "Rejected.InvalidRequest",
            BadTagLine { .. } | ReservedTag { .. } | BadTagKey { .. } | ReservedTagKey { .. } => {
                "InvalidParameter.TagKey"
            }
            BadTagValue { .. } => "InvalidParameter.TagValue",
            CurrentMoved { .. } => "Rejected.InvalidRequest",
            NoRotation => "UnsupportedOperation",
            RotationUnderWay | NoRotationRuns => "Rejected.StateModifiedFailed",
            VersionLabelled { .. } => "Rejected.UnsupportedOperation",
            DuplicateTag { .. } | DuplicateTagKey { .. } => "Duplicate.TagKey",
            Unsupported(_) => "UnsupportedOperation",
            KeyChosen | KeyStateStays | KeyNotScheduled | KeyNotDue { .. } | ClockHeld { .. } => {
                "Rejected.StateModifiedFailed"
            }
            NotYourScratch
            | NotPermitted { .. }
            | Denied { .. }
            | OtherAccount { .. }
            | KeyDenies { .. }
            | NotOwner
            | NotYourConversation
            | UnknownCaller
            | ReadOnlyView => "Forbidden.NoPermission",
            OverQuota { .. } => "Rejected.ShareQuotaExceedLimit",
            Sealed => "Rejected.Unavailable",
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
            | "Rejected.Unavailable"
            | "Rejected.PendingDeletion" => 409,
            _ => 400,
        }
    }

    /// What to do about it, where there is more to say than the message does.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            NameScheduled | InDeleteWindow { .. } | TrashStays | WrongRestoreName { .. } => Some(RESTORE),
            VersionExists { .. } => Some("write the new value to another name under versions/, or to current"),
            CannotRename | KeyChosen | KeyGone => Some(ANOTHER),
            NoSuchKey { .. } => Some("`ls` the instance's .keys/ for those there are"),
            NotAnEntry(_) => Some("`mkdir` the secret, then write its `current`"),
            NotEmpty | InstanceStays => Some("`rm -r` schedules the deletion of secrets"),
            FixedEntry => Some("it comes and goes with the secret, instance or mount it belongs to"),
            FollowsDirectory => Some("`chmod` or `chown` the directory it is in"),
            LabelTwin { .. } => Some("give the label another name"),
            NotKeyValue | BadMemberName { .. } | BadMember => Some(AS_A_WHOLE),
            FieldsRollAway => Some("remove the members by their paths, or write what is to stay to `current`"),
            TooManyLabels | TooManyTags | TooManyMembers => Some("remove one first"),
            KeyInUse { .. } => Some(MOVE_SECRETS),
            KeyPendingDeletion | KeyStateStays => Some(TAKE_BACK),
            Sealed => Some("`echo Running` into the instance's .instance/state, or `kmsfs unseal`"),
            OverQuota { .. } => Some(MAKE_ROOM),
            BadRotation { .. } | NoRotation => Some(PLAN),
            RotationUnderWay => Some("wait for its end, or `kmsfs rotate --cancel`; `info` says how far it is"),
            CurrentMoved { .. } => Some("read it, and put what that leads to"),
            VersionLabelled { .. } => Some("move its labels away first: `kmsfs log` shows them"),
            ClockHeld { .. } => Some("the daemon destroys it when it has; `status` says how long that takes at least"),
            KeyDenies { .. } => Some("`cat` the key's policy in .keys/; the owner of the instance sets it"),
            Denied { .. } => Some("`kmsfs policy test` says who may do what"),
            KeyDisabled => Some("`echo Enabled` into the key's state, or `kmsfs key enable`"),
            BadName { .. }
            | NameTooLong
            | ReservedName(_)
            | ManagedName
            | NoSuchInstance
            | NotFound
            | NoSuchVersion
            | NoSuchLabel
            | NoSuchMember
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
            | BadTagKey { .. }
            | BadTagValue { .. }
            | ReservedTagKey { .. }
            | DuplicateTagKey { .. }
            | NotPermitted { .. }
            | OtherAccount { .. }
            | NotOwner
            | NotYourConversation
            | UnknownCaller
            | ReadOnlyView
            | RequestTooLong
            | BadWindow
            | BadQuota
            | BadShare { .. }
            | BadState { .. }
            | PolicyTooLong
            | BadPolicy { .. }
            | DescriptionTooLong
            | TextTooLong
            | BadDescription
            | NoRotationRuns
            | KeyNotScheduled
            | KeyNotDue { .. }
            | DefaultKey
            | BadKeyWindow
            | TooManyKeyVersions
            | Unsupported(_)
            | NotYourScratch
            | TooManyDrafts
            | TooManyConversations
            | TooManyFollowers
            | ScratchLimit => None,
        }
    }
}
