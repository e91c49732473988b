//! What can be wrong with a request, and how KMS says it.

use serde_json::{Value as Json, json};

use super::plain;
use crate::id::OpId;
use crate::secret::Refusal;
use crate::value::Value;
use crate::vault::{CommitError, StoreError, VaultError};

/// Why a request was not answered with what it asked for. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nothing was written before the read.
    #[error("there is no request: write one, as {{\"Action\":\"ListSecrets\"}}, then read its answer")]
    NoRequest,
    /// Not JSON, or not an object, or not in UTF-8.
    #[error("the request is no JSON object: line {line}, column {column}")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A member that is there twice could mean either.
    #[error("the request has a member twice: {0}")]
    Twice(String),
    /// The name is said as far as it can be a name.
    #[error("there is no action named {0}")]
    NoSuchAction(String),
    /// Of KMS, but not for generic secrets, or not of this program.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// Required, and not there.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    /// Said twice the same in two ways, or what it says is no value of it.
    #[error("the parameter {name} {why}")]
    Invalid {
        /// The member.
        name: String,
        /// What is wrong with it; never its value.
        why: String,
    },
    /// Perhaps a slip of the pen, which would change what the request means.
    #[error("the parameter {name} means nothing to {action}")]
    Unknown {
        /// The member, as far as it can be a name.
        name: String,
        /// The action.
        action: &'static str,
    },
    /// An account is a store's; a secret of another one has to be asked for there.
    #[error("the resource belongs to another account")]
    OtherAccount,
    /// Each secret has one, named `default`.
    #[error("there is no such policy: the only one of a secret is named default")]
    NoSuchPolicy,
    /// As KMS answers a dry run that would have been a success.
    #[error("the request would have succeeded: it was a dry run")]
    DryRun,
    /// Less must be asked for at once.
    #[error("the answer would have more than 8 MiB")]
    AnswerTooLong,
    /// A list was changed behind the caller's back, or the token is of another one.
    #[error("the parameter NextToken is none that this list gave")]
    BadToken,
    /// A rule said no, or the store failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        ApiError::Vault(refusal.into())
    }
}

impl ApiError {
    /// The official code.
    pub fn code(&self) -> &'static str {
        match self {
            ApiError::NoRequest | ApiError::Missing(_) => "MissingParameter",
            ApiError::NotJson { .. }
            | ApiError::Twice(_)
            | ApiError::Invalid { .. }
            | ApiError::Unknown { .. }
            | ApiError::BadToken => "InvalidParameter",
            ApiError::NoSuchAction(_) => "InvalidAction.NotFound",
            ApiError::Unsupported(_) => "UnsupportedOperation",
            ApiError::OtherAccount | ApiError::NoSuchPolicy => "Forbidden.ResourceNotFound",
            ApiError::DryRun => "DryRunOperationError",
            ApiError::AnswerTooLong => "Rejected.LimitExceeded",
            ApiError::Vault(error) => code_of(error),
        }
    }

    /// The HTTP status that KMS sends with the code.
    pub fn http_status(&self) -> u16 {
        match self {
            ApiError::NoSuchAction(_) | ApiError::OtherAccount | ApiError::NoSuchPolicy => 404,
            ApiError::NoRequest
            | ApiError::Missing(_)
            | ApiError::NotJson { .. }
            | ApiError::Twice(_)
            | ApiError::Invalid { .. }
            | ApiError::Unknown { .. }
            | ApiError::BadToken
            | ApiError::Unsupported(_)
            | ApiError::DryRun
            | ApiError::AnswerTooLong => 400,
            ApiError::Vault(VaultError::Refused(refusal)) => refusal.http_status(),
            ApiError::Vault(error) => {
                if code_of(error) == TEMPORARY {
                    503
                } else {
                    500
                }
            }
        }
    }

    /// What to do about it, where there is more to say than the message does.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            ApiError::Vault(VaultError::Refused(refusal)) => refusal.hint(),
            ApiError::Vault(_)
            | ApiError::NoRequest
            | ApiError::Missing(_)
            | ApiError::NotJson { .. }
            | ApiError::Twice(_)
            | ApiError::Invalid { .. }
            | ApiError::Unknown { .. }
            | ApiError::BadToken
            | ApiError::NoSuchAction(_)
            | ApiError::Unsupported(_)
            | ApiError::OtherAccount
            | ApiError::NoSuchPolicy
            | ApiError::DryRun
            | ApiError::AnswerTooLong => None,
        }
    }

    /// Members of an error, as a batch has them too.
    pub(super) fn to_json(&self) -> Json {
        let mut body = json!({ "HttpStatus": self.http_status(), "Code": self.code(), "Message": self.to_string() });
        if let Some(hint) = self.hint() {
            body["Recommend"] = hint.into();
        }
        body
    }

    /// The whole answer.
    pub(super) fn render(&self, id: OpId) -> Value {
        let mut body = self.to_json();
        body["RequestId"] = id.request_id().into();
        body["HostId"] = HOST.into();
        plain::document(&body)
    }
}

/// Who answers, where KMS names its endpoint.
const HOST: &str = "kmsfs";
/// The code upon which clients of KMS try again.
const TEMPORARY: &str = "ServiceUnavailableTemporary";

fn code_of(error: &VaultError) -> &'static str {
    match error {
        VaultError::Refused(refusal) => refusal.code(),
        VaultError::Commit(CommitError::Full | CommitError::Unavailable(_) | CommitError::Conflict)
        | VaultError::Store(StoreError::WouldWait) => TEMPORARY,
        VaultError::Commit(CommitError::Unknown(_) | CommitError::TooLarge)
        | VaultError::Store(StoreError::Io(_) | StoreError::Damaged(_))
        | VaultError::Sealed(_)
        | VaultError::Crypto(_)
        | VaultError::Lost { .. }
        | VaultError::Unreadable { .. }
        | VaultError::Replaced { .. }
        | VaultError::OutOfNodes
        | VaultError::Audit(_)
        | VaultError::Slot(_) => "InternalFailure",
    }
}
