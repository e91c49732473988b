//! What can go wrong in the tree, and the errno of each, once.

use crate::secret::Refusal;
use crate::vault::{CommitError, StoreError, VaultError};

/// Why the kernel gets an error.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The vault did not do it: a rule said no, or the store failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The name stands for nothing, or what the inode stood for is gone.
    #[error("there is no such entry")]
    NoEntry,
    /// unlink(2), or a read of bytes, of a directory.
    #[error("it is a directory")]
    IsDirectory,
    /// rmdir(2) of something else, or a directory renamed onto it.
    #[error("it is no directory")]
    NotDirectory,
    /// A handle that this mount never gave, that was closed, or that is of another sort.
    #[error("the handle is not open")]
    BadHandle,
    /// A handle of a writer, whose draft has gone with its worker.
    #[error("the worker in which it was opened has ended, and what was written with it")]
    LostDraft,
    /// An extended attribute that tools set by themselves; a user's own is a refusal.
    #[error("this file system has no such feature")]
    NoSuchFeature,
    /// A handle of a copy of the store, which has gone with its worker.
    #[error("the worker that made this copy of the store has ended, and the copy with it")]
    LostSnapshot,
    /// Somebody else made the name since the caller's kernel looked: it has to look again.
    #[error("the name stands for something else by now")]
    Stale,
    /// A directory `fields/` of a version that has rolled away: neither its names nor new ones mean anything in it.
    #[error("the version that this directory shows is gone")]
    VersionGone,
    /// Two threads read one answer, and the one that was to have it made was interrupted.
    #[error("another thread was to read the answer first: read again")]
    Again,
    /// The extended attribute is none that the file has.
    #[error("there is no such attribute")]
    NoAttribute,
    /// The target of what is no link, or the text of a value.
    #[error("the argument makes no sense here")]
    Invalid,
    /// A read of `current` for the kernel's page cache, where pages of several versions would meet.
    #[error("this is read with read(2): sendfile and private maps would mix what several opens have")]
    PageCache,
    /// A read of events from before those that were read last.
    #[error("events that were read are not kept: they can be read once")]
    Forgotten,
    /// The draft was given up. The errno is that of the failure, told again to each later write and close.
    #[error("the write that came before failed, so nothing was stored")]
    Poisoned(i32),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Fault::Vault(refusal.into())
    }
}

impl Fault {
    /// The errno that the caller gets.
    pub fn errno(&self) -> i32 {
        match self {
            Fault::Vault(error) => of_vault(error),
            Fault::NoEntry => libc::ENOENT,
            Fault::IsDirectory => libc::EISDIR,
            Fault::NotDirectory => libc::ENOTDIR,
            Fault::BadHandle => libc::EBADF,
            Fault::LostDraft => libc::EIO,
            Fault::LostSnapshot => libc::EIO,
            Fault::Stale | Fault::VersionGone => libc::ESTALE,
            Fault::Again => libc::EAGAIN,
            Fault::NoSuchFeature => libc::EOPNOTSUPP,
            Fault::NoAttribute => libc::ENODATA,
            Fault::Invalid | Fault::Forgotten => libc::EINVAL,
            Fault::PageCache => libc::EIO,
            Fault::Poisoned(errno) => *errno,
        }
    }

    /// The rule that said no, if one did.
    pub fn refusal(&self) -> Option<&Refusal> {
        if let Fault::Vault(VaultError::Refused(refusal)) = self { Some(refusal) } else { None }
    }

    /// What says so.
    pub fn would_have_waited() -> Self {
        Fault::Vault(VaultError::Store(StoreError::WouldWait))
    }

    /// The official KMS error code.
    pub fn code(&self) -> &'static str {
        self.refusal().map_or("InternalFailure", Refusal::code)
    }

    /// Whether nothing is wrong, but that who asks may not wait for the disk that has the answer.
    pub fn would_wait(&self) -> bool {
        matches!(self, Fault::Vault(error) if error.would_wait())
    }

    /// Whether the caller did nothing wrong: the store or its disk failed.
    pub fn is_failure(&self) -> bool {
        matches!(self, Fault::Vault(error) if error.is_failure())
    }
}

fn of_vault(error: &VaultError) -> i32 {
    match error {
        VaultError::Refused(refusal) => of_refusal(refusal),
        VaultError::Store(StoreError::Io(_)) => libc::EIO,
        // Asked again where it may wait, so no caller gets it.
        VaultError::Store(StoreError::WouldWait) => libc::EAGAIN,
        VaultError::Store(StoreError::Damaged(_)) | VaultError::Sealed(_) => libc::EBADMSG,
        VaultError::Lost { .. } | VaultError::Unreadable { .. } | VaultError::Replaced { .. } => libc::EBADMSG,
        VaultError::Commit(CommitError::Full) => libc::ENOSPC,
        VaultError::Commit(CommitError::Conflict) => libc::EAGAIN,
        VaultError::Commit(CommitError::Unknown(_) | CommitError::Unavailable(_)) => libc::EIO,
        VaultError::Commit(CommitError::TooLarge) => libc::EFBIG,
        VaultError::Crypto(_) => libc::EIO,
        VaultError::OutOfNodes => libc::EDQUOT,
        VaultError::Audit(_) => libc::EIO,
        VaultError::Slot(_) => libc::EINVAL,
    }
}

fn of_refusal(refusal: &Refusal) -> i32 {
    use Refusal::*;
    match refusal {
        BadName { .. }
        | ReservedName(_)
        | ManagedName
        | EmptyValue
        | NotKeyValue
        | BadMemberName { .. }
        | BadMember
        | BadLink
        | BadTagLine { .. }
        | BadTagKey { .. }
        | BadTagValue { .. }
        | BadWindow
        | BadKeyWindow
        | BadState { .. }
        | BadQuota
        | BadShare { .. }
        | BadPolicy { .. }
        | BadDescription
        | LabelElsewhere => libc::EINVAL,
        NameTooLong => libc::ENAMETOOLONG,
        NoSuchInstance | NotFound | NoSuchVersion | NoSuchLabel | NoSuchMember => libc::ENOENT,
        NoSuchKey { .. } | KeyGone => libc::ENOKEY,
        NameTaken | NameScheduled | VersionExists { .. } | DuplicateTag { .. } | DuplicateTagKey { .. } => libc::EEXIST,
        InDeleteWindow { .. } => libc::EIDRM,
        NotScheduled => libc::EALREADY,
        OutOfNumbers
        | TooManyLabels
        | LabelTwin { .. }
        | TooManyMembers
        | TooManyTags
        | TooManyKeyVersions
        | TooManyDrafts
        | TooManyConversations
        | TooManyFollowers
        | OverQuota { .. }
        | ScratchLimit => libc::EDQUOT,
        ValueTooLong | PolicyTooLong | DescriptionTooLong | TextTooLong | RequestTooLong => libc::EFBIG,
        BuiltInLabel
        | ReservedTag { .. }
        | ReservedTagKey { .. }
        | KeyChosen
        | NotOwner
        | FieldsRollAway
        | FixedEntry
        | TrashStays
        | FollowsDirectory
        | CannotRename
        | WrongRestoreName { .. }
        | NotAnEntry(_) => libc::EPERM,
        Unsupported(_) => libc::EOPNOTSUPP,
        Sealed => libc::EKEYEXPIRED,
        ReadOnlyView => libc::EROFS,
        CurrentMoved { .. } => libc::ESTALE,
        NoRotation => libc::EOPNOTSUPP,
        RotationUnderWay | NoRotationRuns => libc::EBUSY,
        BadRotation { .. } => libc::EINVAL,
        VersionLabelled { .. } => libc::EPERM,
        KeyDisabled | KeyPendingDeletion => libc::EKEYREVOKED,
        KeyStateStays | KeyNotScheduled | KeyNotDue { .. } | ClockHeld { .. } | KeyInUse { .. } | DefaultKey => {
            libc::EBUSY
        }
        NotYourScratch
        | NotPermitted { .. }
        | Denied { .. }
        | OtherAccount { .. }
        | KeyDenies { .. }
        | NotYourConversation
        | UnknownCaller => libc::EACCES,
        NotEmpty | InstanceStays => libc::ENOTEMPTY,
    }
}
