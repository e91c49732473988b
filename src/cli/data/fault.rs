//! What goes wrong with the verbs on data, beside what the mount refuses. A part of `report`.
//!
//! Invariant: as there, no match has a wildcard.

use std::io;
use std::path::PathBuf;

use crate::cli::exit::Exit;
use crate::cli::report::{Verdict, plain, with};
use crate::secret::Refusal;

/// Why a verb on data did nothing, or not all.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("the secret {0} has no version that was current before")]
    NothingBefore(String),
    #[error("{secret} is not rotated: {why}")]
    NotRotated { secret: String, why: String },
    #[error("the path and --version name two versions")]
    TwoVersions,
    #[error("no version of {0} is named")]
    NoVersion(String),
    #[error("nothing was destroyed: it was not confirmed")]
    NotConfirmed,
    #[error("{defect} (line {line} of segment {segment})")]
    AuditUnsound { defect: String, segment: String, line: String },
    #[error("no tag is given")]
    NoTags,
    #[error("no secret is given")]
    NoPaths,
    #[error("`{0}` can be a path here, and a tag")]
    PathOrTag(String),
    #[error("the path `{0}` stands behind a tag")]
    PathBehind(String),
    #[error("{0}: there is no such path")]
    NoPath(PathBuf),
    #[error("`{0}` is no tag: a tag is KEY=VALUE")]
    NoTag(String),
    #[error("no variable {name}: {why}")]
    NoVariable { name: String, why: &'static str },
    #[error("the two values differ")]
    ValuesDiffer,
    #[error("a member is NAME=@FILE, or NAME=- for stdin")]
    NoMember,
    #[error("the value of the member `{0}` stands in the argument, which every user of the machine can see")]
    MemberInArgument(String),
    #[error("the member `{0}` is given twice")]
    MemberTwice(String),
    #[error("one member comes from stdin, not more")]
    TwoFromStdin,
    #[error("the member `{0}` is no UTF-8, and JSON has no other strings")]
    MemberNotText(String),
    #[error("{0}")]
    Members(Refusal),
    #[error("the secret {secret} has no member `{name}`")]
    MissingMember { secret: String, name: String },
    #[error("the input could not be read: {0}")]
    Input(io::Error),
    #[error("a policy is JSON in UTF-8: the input is none")]
    NotText,
}

impl DataError {
    /// How it ends, and what may help.
    pub fn judge(&self) -> Verdict {
        match self {
            DataError::NothingBefore(_) => with(Exit::Refused, "`kmsfs log` shows its versions; name one with --to"),
            DataError::NotRotated { .. } => {
                with(Exit::Refused, "its `info` says how far it is; `kmsfs rotate` goes on where it stands")
            }
            DataError::TwoVersions => plain(Exit::Usage),
            DataError::NoVersion(_) => with(Exit::Usage, "`kmsfs log` shows its versions; name one with --version"),
            DataError::NotConfirmed => with(Exit::Refused, "say --yes where nobody can be asked"),
            DataError::AuditUnsound { .. } => with(
                Exit::AuditUnsound,
                "keep the segments as they are: what stands before that record is sound, what stands behind it proves nothing",
            ),
            DataError::NoTags => with(Exit::Usage, "the last arguments are the tags"),
            DataError::NoPaths => with(Exit::Usage, "the first arguments are the secrets' paths"),
            DataError::PathOrTag(_) => {
                with(Exit::Usage, "put `--` before the tags; a path in the current directory is ./NAME")
            }
            DataError::PathBehind(_) => {
                with(Exit::Usage, "paths come first; put `--` before tags whose keys hold a `/`")
            }
            DataError::NoPath(_) => {
                with(Exit::Refused, "what holds a `/` is taken for a path; put `--` before tags whose keys hold one")
            }
            DataError::NoTag(_) | DataError::NoMember | DataError::MemberTwice(_) => plain(Exit::Usage),
            DataError::MemberInArgument(_) => {
                with(Exit::Usage, "give it in a file, `--field NAME=@FILE`, or one of them on stdin, `--field NAME=-`")
            }
            DataError::TwoFromStdin => with(Exit::Usage, "give the others in files, `--field NAME=@FILE`"),
            DataError::MemberNotText(_) => {
                with(Exit::Refused, "bytes that are no text are a secret of their own, or base64")
            }
            DataError::MissingMember { .. } => with(Exit::Refused, "`ls` its fields/ for those there are"),
            DataError::NoVariable { .. }
            | DataError::ValuesDiffer
            | DataError::Members(_)
            | DataError::Input(_)
            | DataError::NotText => plain(Exit::Refused),
        }
    }
}
