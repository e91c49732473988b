//! Every reason to say no, once: each has a message that names the thing and never its value. What KMS calls it, and what to do
//! about it, stands in `code`; its errno in `fs/errno.rs`.

use super::{KeyName, SecretName, StageLabel, VersionId};
use crate::time::Timestamp;

/// Why a request was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A name, id or label breaks the grammar that they share. The name itself is not repeated: it may hold anything.
    #[error(
        "the name has {what}; a name is 1 to {max} of the characters A-Z a-z 0-9 _ + = . @ - and does not begin with a dot"
    )]
    BadName {
        /// What is wrong with it: `a leading dot`.
        what: &'static str,
        /// The most bytes that this kind of name has.
        max: usize,
    },
    /// Told apart from a bad name, since the kernel and people know ENAMETOOLONG.
    #[error(
        "the name is too long: a secret's has at most 192 bytes with its directories and slashes, an instance's, a version's and a label's 64"
    )]
    NameTooLong,
    /// A directory of this name would hide an entry of the secret that it stands in.
    #[error("`{0}` is the name of an entry of every secret")]
    ReservedName(String),
    /// KMS keeps that prefix for the secrets that other services make.
    #[error("names that begin with `acs/` belong to managed secrets")]
    ManagedName,
    /// What was named is no instance.
    #[error("there is no such instance")]
    NoSuchInstance,
    /// A secret's key is to be one that its own instance does not have.
    #[error("the instance has no key named `{}`", name.as_str())]
    NoSuchKey {
        /// The key that was asked for.
        name: KeyName,
    },
    /// Neither a secret nor the draft of one; also what went while the request was on its way.
    #[error("there is no such secret")]
    NotFound,
    /// Never written, or rolled away.
    #[error("the secret has no such version")]
    NoSuchVersion,
    /// A label that is on no version cannot be taken off or renamed.
    #[error("the secret has no such label")]
    NoSuchLabel,
    /// CreateSecret, or a new instance, under a name that is there.
    #[error("the name is taken")]
    NameTaken,
    /// CreateSecret under the name of a secret in the trash: it would be in the way of the restore.
    #[error("the name belongs to a secret that is scheduled for deletion")]
    NameScheduled,
    /// The secret is in the trash, where it can only be described, restored and purged.
    #[error("the secret is scheduled for deletion at {purge_at}")]
    InDeleteWindow {
        /// Until when a restore is possible in any case.
        purge_at: Timestamp,
    },
    /// A restore or a purge of a secret that is not in the trash.
    #[error("the secret is not scheduled for deletion")]
    NotScheduled,
    /// A restore brings back what was deleted, as it was: it is no rename.
    #[error("a deleted secret comes back under its own name, `{}`", expected.as_str())]
    WrongRestoreName {
        /// The name that it comes back under.
        expected: SecretName,
    },
    /// Other bytes for a version that is stored. The same ones are a success.
    #[error("version `{}` exists and holds other bytes; versions are written once", id.as_str())]
    VersionExists {
        /// The version.
        id: VersionId,
    },
    /// A version needs a number of 24 bits, and an automatic id one below 2^53; one of them has come to its end.
    #[error("the secret has no number left for a version")]
    OutOfNumbers,
    /// KMS has no empty value, and a file that was only cut shall not rotate a secret.
    #[error("a value has at least one byte; truncating a file makes no version")]
    EmptyValue,
    /// Said as soon as the write goes past the limit.
    #[error("a value has at most 30,720 bytes")]
    ValueTooLong,
    /// Only a text that is a JSON object has members; and one with more than these is shown as a whole alone.
    #[error(
        "the current value has no members: it is no JSON object, or one of more than 512 members or too long names"
    )]
    NotKeyValue,
    /// Never written, or removed by somebody else.
    #[error("the current value has no such member")]
    NoSuchMember,
    /// The name itself is not repeated: it may hold anything.
    #[error("the name has {what}, which no file in `fields/` has")]
    BadMemberName {
        /// What is wrong with it: `a slash`.
        what: &'static str,
    },
    /// JSON has no other strings.
    #[error("a member is a text in UTF-8")]
    BadMember,
    /// Their names and lengths are kept in the secret's record.
    #[error("a value has at most 512 members, whose names have 4,096 bytes together")]
    TooManyMembers,
    /// `rm -r s/fields` takes one after the other, each a version: what it began with shall not be lost on the way.
    #[error("the version that this directory shows would roll away")]
    FieldsRollAway,
    /// Without ACSCurrent a secret could not be read.
    #[error("ACSCurrent and ACSPrevious can be moved, never removed")]
    BuiltInLabel,
    /// Two places are kept for the built-in ones, so no label of a user can stop a rotation.
    #[error("a secret has at most 8 labels, ACSCurrent and ACSPrevious among them")]
    TooManyLabels,
    /// Of 24-bit hashes two may be the same, once in 600,000 secrets with eight labels.
    #[error("the label cannot stand beside `{}`, with which it shares an inode number", other.as_str())]
    LabelTwin {
        /// The label that is there already.
        other: StageLabel,
    },
    /// The caller has an older picture of the labels than the store.
    #[error("the label is not on the version it was to be taken from")]
    LabelElsewhere,
    /// What was linked into `stages/` is no version of this secret.
    #[error("a label is a link to a version of its own secret, as `../versions/v1`")]
    BadLink,
    /// None of the tags was taken.
    #[error("line {line} is no tag: a key of 1 to 128 and a value of 0 to 128 letters, digits or / \\ _ - . + = : @")]
    BadTagLine {
        /// Which line of the file, from 1.
        line: usize,
    },
    /// None of the tags was taken. The prefixes are refused in any case.
    #[error("line {line}: tag keys that begin with `aliyun` or `acs:` belong to the system")]
    ReservedTag {
        /// Which line of the file, from 1.
        line: usize,
    },
    /// None of the tags was taken: which of the two was meant is not known.
    #[error("line {line} gives a tag's key for the second time")]
    DuplicateTag {
        /// Which line of the file, from 1; the second of the two.
        line: usize,
    },
    /// None of the tags was taken.
    #[error("the key of tag {at} is not 1 to 128 letters, digits or / \\ _ - . + = : @")]
    BadTagKey {
        /// Which tag of the request, from 1.
        at: usize,
    },
    /// None of the tags was taken.
    #[error("the value of tag {at} is not 0 to 128 letters, digits or / \\ _ - . + = : @")]
    BadTagValue {
        /// Which tag of the request, from 1.
        at: usize,
    },
    /// None of the tags was taken or removed.
    #[error("the key of tag {at} begins with `aliyun` or `acs:`, which belongs to the system")]
    ReservedTagKey {
        /// Which tag of the request, from 1.
        at: usize,
    },
    /// None of the tags was taken.
    #[error("tag {at} gives a key for the second time")]
    DuplicateTagKey {
        /// Which tag of the request, from 1; the second of the two.
        at: usize,
    },
    /// None of the tags was taken.
    #[error("a secret has at most 20 tags")]
    TooManyTags,
    /// A part of a day, a sign or another word is none either; the window stays as it was.
    #[error("a recovery window is a number of days from 7 to 30")]
    BadWindow,
    /// An entry that takes words was given another one.
    #[error("what can be written here is {words}")]
    BadState {
        /// The words that it takes.
        words: &'static str,
    },
    /// Said as soon as the write goes past the limit.
    #[error("a policy has at most 32,768 bytes")]
    PolicyTooLong,
    /// The document is no JSON, or not of the shape of a policy.
    #[error("the policy cannot be read: {why}")]
    BadPolicy {
        /// What is wrong and where, without the text itself.
        why: String,
    },
    /// Whoever it lets in beside them costs nothing more.
    #[error("the instance lets {quota} other accounts in, and no more")]
    OverQuota {
        /// The instance's access quota.
        quota: u16,
    },
    /// A sign, a fraction or another word is none either.
    #[error("an access quota is a number from 0 to 1,000")]
    BadQuota,
    /// None of the accounts was taken.
    #[error("line {line} is no account of 16 digits, or the instance's own")]
    BadShare {
        /// Which line of the file, from 1.
        line: usize,
    },
    /// Values neither open nor are sealed; all else goes on.
    #[error("the instance is unavailable: its values are sealed")]
    Sealed,
    /// A statement of the policy says so.
    #[error("{action} is not allowed: statement {statement} of the policy of `{on}` denies it")]
    Denied {
        /// The action of KMS.
        action: &'static str,
        /// The name whose policy it is.
        on: String,
        /// Which one, from 1.
        statement: usize,
    },
    /// Who is of another account needs the policy and the bits, and can read alone.
    #[error("{action} is not allowed to another account: {why}")]
    OtherAccount {
        /// The action of KMS.
        action: &'static str,
        /// What is missing.
        why: &'static str,
    },
    /// A value needs its key's consent besides.
    #[error("{action} is not allowed: the policy of the key `{}` does not permit it", key.as_str())]
    KeyDenies {
        /// What would be done with the key, as KMS calls it.
        action: &'static str,
        /// The key's name.
        key: KeyName,
    },
    /// Nobody can be locked out by a policy that only they can set.
    #[error("a policy is set by the owner of the secret, or by root")]
    NotOwner,
    /// The one newline at the end is the file's, and does not count.
    #[error("a description has at most 8,192 bytes")]
    DescriptionTooLong,
    /// Said as soon as the write goes past the limit.
    #[error("the text of this entry has at most 65,536 bytes")]
    TextTooLong,
    /// Descriptions are shown on terminals.
    #[error("a description is UTF-8 text without control characters")]
    BadDescription,
    /// Values are sealed under the key that is there.
    #[error("the key is chosen before the first version and stays")]
    KeyChosen,
    /// It was destroyed though the secret was under it. Its values can never be read again.
    #[error("the secret's key was destroyed")]
    KeyGone,
    /// Values neither open nor are sealed; all else goes on.
    #[error("the secret's key is disabled")]
    KeyDisabled,
    /// As with a disabled key.
    #[error("the secret's key is scheduled for deletion")]
    KeyPendingDeletion,
    /// To cancel or end a deletion that nobody has asked for.
    #[error("the key is not scheduled for deletion")]
    KeyNotScheduled,
    /// Nobody destroys a key before its window is over.
    #[error("the key may be destroyed from {due} on")]
    KeyNotDue {
        /// The end of the window.
        due: Timestamp,
    },
    /// A line of a `rotation` text says nothing.
    #[error("line {line} of the rotation: {why}")]
    BadRotation {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No function rotates it.
    #[error("the secret is rotated by no function")]
    NoRotation,
    /// One at a time.
    #[error("a rotation of the secret is under way")]
    RotationUnderWay,
    /// There is nothing to go on with, or to cancel.
    #[error("no rotation of the secret is under way")]
    NoRotationRuns,
    /// Somebody else was quicker.
    #[error("another version is current by now: {}", current.as_ref().map_or("none", VersionId::as_str))]
    CurrentMoved {
        /// That one, if there is any.
        current: Option<VersionId>,
    },
    /// A version with a label is in use.
    #[error("the version is at {}", label.as_str())]
    VersionLabelled {
        /// One of its labels.
        label: StageLabel,
    },
    /// Its window is over by the machine's clock alone.
    #[error("the key was due at {due}, but not so much time has passed for certain")]
    ClockHeld {
        /// The end of the window by the machine's clock.
        due: Timestamp,
    },
    /// Their values could never be read again.
    #[error("{count} secrets or drafts are under the key, those that are scheduled for deletion among them")]
    KeyInUse {
        /// How many.
        count: u64,
    },
    /// New secrets get it unless another key is chosen.
    #[error("the instance's default key cannot be deleted")]
    DefaultKey,
    /// A part of a day, a sign or another word is none either.
    #[error("a key waits 7 to 366 days for its end")]
    BadKeyWindow,
    /// All of them are kept, since a backup may need them.
    #[error("a key has at most 366 versions")]
    TooManyKeyVersions,
    /// A key that is scheduled for deletion is neither enabled nor disabled.
    #[error("the key is scheduled for deletion: its state stays until that is taken back")]
    KeyStateStays,
    /// rmdir(2) of a directory that something would be lost with.
    #[error("the directory holds a secret or other directories")]
    NotEmpty,
    /// The entries of a secret, an instance or the mount are what they are.
    #[error("this entry belongs to what holds it and cannot be removed, renamed or replaced")]
    FixedEntry,
    /// rmdir(2) of an instance, also of an empty one.
    #[error("an instance cannot be removed")]
    InstanceStays,
    /// So that no `rm -rf` or `find -delete` purges what it has just scheduled.
    #[error("nothing is removed from the trash by hand: it waits for its restore or its purge")]
    TrashStays,
    /// chmod(2) or chown(2) of an entry that is no value.
    #[error("owner and bits of this entry are those of its directory")]
    FollowsDirectory,
    /// EPERM, never EXDEV, upon which `mv` would copy and delete.
    #[error("a secret's directory cannot be renamed")]
    CannotRename,
    /// A file where only directories are, or in the directory of a draft: `echo v > M/prod/db/password` without the `mkdir`.
    #[error("`{0}` is no entry of a secret, so a file of that name would not be kept")]
    NotAnEntry(String),
    /// Of KMS or of files, but not of this program; the words are what it is.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// Each of them keeps room on the disk, which is everybody's.
    #[error("a user has at most 64 files open that were written and not closed")]
    TooManyDrafts,
    /// Another door than the tree asks what the kernel would have asked.
    #[error("{action} is not allowed: neither the owner, group and mode of `{on}` nor a policy permit it")]
    NotPermitted {
        /// The action of KMS.
        action: &'static str,
        /// The name that they are those of.
        on: String,
    },
    /// Who has opened it could make others ask in their own name.
    #[error("a conversation with the api is with the user who opened the file")]
    NotYourConversation,
    /// Whom /proc does not show has no groups that anybody knows of, and a request over another file system may be anybody's.
    #[error("who asks cannot be told: the daemon does not see the caller's process")]
    UnknownCaller,
    /// The mount shows a part of the tree, to be read.
    #[error("this view of the tree is read-only")]
    ReadOnlyView,
    /// What is said in them stands in memory, which is everybody's.
    #[error("a user has at most 64 conversations with the api open")]
    TooManyConversations,
    /// What is told to them stands in memory, which is everybody's.
    #[error("a user has at most 64 files of events open")]
    TooManyFollowers,
    /// Said as soon as the write goes past the limit.
    #[error("a request to the api has at most 1 MiB, in 256 writes")]
    RequestTooLong,
    /// A rename must not go around the bits of the value that it replaces.
    #[error("a file in memory becomes a value or a text only by who owns it")]
    NotYourScratch,
    /// They are in memory, which is everybody's.
    #[error("scratch files have at most 256 KiB each, and 64 of them per user")]
    ScratchLimit,
}
