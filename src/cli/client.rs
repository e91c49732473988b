//! Speaking to a mount's `.kmsfs/api`: the kernel tells the daemon who asks, so this works wherever the mount can be seen.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use super::exit::Exit;
use super::report::{CliError, LIST_MOUNTS, Verdict, plain, with};
use crate::api::{self, Reply};
use crate::secret::DataType;
use crate::value::Value;

/// Where the api is in a mount.
const API: &str = ".kmsfs/api";
/// Bytes read at a time.
const PART: usize = 128 * 1024;

/// Why the api did not answer, or what it answered instead.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The service's own words.
    #[error("{message} ({code})")]
    Refused { code: String, message: String, hint: Option<String> },
    #[error("the mount on {0} is read-only, and the api takes requests in writing")]
    ReadOnly(PathBuf),
    #[error("no kmsfs that answers requests is mounted on {0}")]
    NoApi(PathBuf),
    #[error("the api of the mount on {mount}: {source}")]
    Io { mount: PathBuf, source: io::Error },
    #[error("the api of the mount on {0} gave an answer that cannot be read")]
    Malformed(PathBuf),
}

impl ClientError {
    /// How it ends, and what may help.
    pub fn judge(&self) -> Verdict {
        match self {
            ClientError::Refused { hint, .. } => (Exit::Refused, hint.clone()),
            ClientError::ReadOnly(_) => {
                with(Exit::Refused, "read the files themselves, or ask where it is mounted to be written")
            }
            ClientError::NoApi(_) => with(Exit::MountPoint, LIST_MOUNTS),
            ClientError::Io { .. } | ClientError::Malformed(_) => plain(Exit::Refused),
        }
    }

    /// Whether it is the error of this code.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, ClientError::Refused { code, .. } if code == wanted)
    }
}

/// A conversation with one mount.
pub struct Client {
    mount: PathBuf,
    file: File,
}

impl Client {
    /// Begins a conversation with the mount on `mount`.
    pub fn open(mount: &Path) -> Result<Self, ClientError> {
        let file = OpenOptions::new().read(true).write(true).open(mount.join(API));
        let file = file.map_err(|source| match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => ClientError::ReadOnly(mount.to_owned()),
            io::ErrorKind::NotFound => ClientError::NoApi(mount.to_owned()),
            _ => ClientError::Io { mount: mount.to_owned(), source },
        })?;
        Ok(Self { mount: mount.to_owned(), file })
    }

    /// What `request` is answered with.
    pub fn ask(&mut self, request: Map<String, Json>) -> Result<Map<String, Json>, ClientError> {
        Ok(self.send(&api::request(request, None))?.members)
    }

    /// The same, with `value` as SecretData.
    pub fn ask_with(
        &mut self,
        request: Map<String, Json>,
        value: &Value,
        kind: DataType,
    ) -> Result<Map<String, Json>, ClientError> {
        Ok(self.send(&api::request(request, Some((value, kind))))?.members)
    }

    /// What `request` is answered with, and the plaintext in the answer.
    pub fn ask_for_value(&mut self, request: Map<String, Json>) -> Result<(Map<String, Json>, Value), ClientError> {
        let reply = self.send(&api::request(request, None))?;
        let value = reply.value.ok_or_else(|| ClientError::Malformed(self.mount.clone()))?;
        Ok((reply.members, value))
    }

    /// The answer to `request` as it comes, error or not.
    pub fn exchange(&mut self, request: &[u8]) -> Result<Value, ClientError> {
        let io = |source| ClientError::Io { mount: self.mount.clone(), source };
        self.file.write_all(request).map_err(io)?;
        let mut answer = Value::empty();
        let mut len = 0;
        loop {
            answer.resize(len + PART);
            match self.file.read(answer.tail(len)) {
                Ok(0) => break,
                Ok(part) => len += part,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io(error)),
            }
        }
        answer.resize(len);
        Ok(answer)
    }

    fn send(&mut self, request: &Value) -> Result<Reply, ClientError> {
        let answer = self.exchange(request.as_bytes())?;
        let reply = Reply::parse(answer.as_bytes()).ok_or_else(|| ClientError::Malformed(self.mount.clone()))?;
        match reply.error() {
            Some((code, message, hint)) => Err(ClientError::Refused { code, message, hint }),
            None => Ok(reply),
        }
    }
}

/// Says what is wanted of the vault.
pub fn request(action: &str) -> Map<String, Json> {
    Map::from_iter([("Action".to_owned(), action.into())])
}

/// The same of one secret.
pub fn request_of(action: &str, target: &super::address::Target) -> Map<String, Json> {
    let mut request = request(action);
    request.insert("DKMSInstanceId".to_owned(), target.instance.as_str().into());
    request.insert("SecretName".to_owned(), target.secret.as_str().into());
    request
}

/// A member that is a text; empty where it is none.
pub fn text<'a>(members: &'a Map<String, Json>, name: &str) -> &'a str {
    members.get(name).and_then(Json::as_str).unwrap_or_default()
}

/// The rows of a list, which KMS wraps in an object.
pub fn rows<'a>(members: &'a Map<String, Json>, list: &str, row: &str) -> &'a [Json] {
    members.get(list).and_then(|list| list.get(row)).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        CliError::Client(error)
    }
}
