//! What can go wrong in the tree, and the errno of each, once.

use crate::secret::Refusal;
use crate::vault::{CommitError, StoreError, VaultError};

/// Why the kernel gets an error.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("there is no such entry")]
    NoEntry,
    #[error("it is a directory")]
    IsDirectory,
    #[error("it is no directory")]
    NotDirectory,
    #[error("the handle is not open")]
    BadHandle,
    #[error("this file system has no such feature")]
    NoSuchFeature,
    #[error("the name stands for something else by now")]
    Stale,
    #[error("there is no such attribute")]
    NoAttribute,
    #[error("the buffer is too small")]
    ShortBuffer,
    #[error("the argument makes no sense here")]
    Invalid,
    #[error("values are read with read(2): sendfile and private maps of `current` would mix versions")]
    PageCache,
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
            Fault::Stale => libc::ESTALE,
            Fault::NoSuchFeature => libc::EOPNOTSUPP,
            Fault::NoAttribute => libc::ENODATA,
            Fault::ShortBuffer => libc::ERANGE,
            Fault::Invalid => libc::EINVAL,
            Fault::PageCache => libc::EIO,
            Fault::Poisoned(errno) => *errno,
        }
    }

    /// The rule that said no, if one did.
    pub fn refusal(&self) -> Option<&Refusal> {
        if let Fault::Vault(VaultError::Refused(refusal)) = self { Some(refusal) } else { None }
    }

    /// Whether the caller did nothing wrong: the store or its disk failed.
    pub fn is_failure(&self) -> bool {
        matches!(self, Fault::Vault(error) if !matches!(error, VaultError::Refused(_)))
    }
}

fn of_vault(error: &VaultError) -> i32 {
    match error {
        VaultError::Refused(refusal) => of_refusal(refusal),
        VaultError::Store(StoreError::Io(_)) => libc::EIO,
        VaultError::Store(StoreError::Damaged(_)) | VaultError::Sealed(_) => libc::EBADMSG,
        VaultError::Lost { .. } | VaultError::Unreadable { .. } => libc::EBADMSG,
        VaultError::Commit(CommitError::Full) => libc::ENOSPC,
        VaultError::Commit(CommitError::Conflict) => libc::EAGAIN,
        VaultError::Commit(CommitError::Unknown(_) | CommitError::Unavailable(_)) => libc::EIO,
        VaultError::Commit(CommitError::TooLarge) => libc::EFBIG,
        VaultError::Crypto(_) => libc::EIO,
        VaultError::OutOfNodes => libc::EDQUOT,
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
        | BadLink
        | BadTagLine { .. }
        | BadWindow
        | BadState { .. }
        | BadPolicy { .. }
        | BadDescription
        | LabelElsewhere => libc::EINVAL,
        NameTooLong => libc::ENAMETOOLONG,
        NoSuchInstance | NotFound | NoSuchVersion | NoSuchLabel => libc::ENOENT,
        NoSuchKey { .. } => libc::ENOKEY,
        NameTaken | NameScheduled | VersionExists { .. } | DuplicateTag { .. } => libc::EEXIST,
        InDeleteWindow { .. } => libc::EIDRM,
        NotScheduled => libc::EALREADY,
        OutOfNumbers | TooManyLabels | LabelTwin { .. } | TooManyTags | TooManyDrafts | ScratchLimit => libc::EDQUOT,
        ValueTooLong | PolicyTooLong | DescriptionTooLong | TextTooLong => libc::EFBIG,
        BuiltInLabel
        | ReservedTag { .. }
        | KeyChosen
        | FixedEntry
        | TrashStays
        | FollowsDirectory
        | CannotRename
        | WrongRestoreName { .. }
        | NotAnEntry(_) => libc::EPERM,
        PolicyNotEnforced | Unsupported(_) => libc::EOPNOTSUPP,
        KeyDisabled | KeyPendingDeletion => libc::EKEYREVOKED,
        NotYourScratch => libc::EACCES,
        NotEmpty | InstanceStays => libc::ENOTEMPTY,
    }
}
