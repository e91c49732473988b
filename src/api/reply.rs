//! The other side: a request written and its answer read, for programs that ask.

use serde_json::{Map, Value as Json};

use super::members::Members;
use super::plain::{Plain, document, from_base64};
use crate::secret::DataType;
use crate::value::Value;

/// What plaintext is called in requests and answers.
const SECRET_DATA: &str = "SecretData";
/// The same of GetRandomPassword.
const RANDOM_PASSWORD: &str = "RandomPassword";
/// The type of SecretData.
const SECRET_DATA_TYPE: &str = "SecretDataType";

/// An answer.
pub struct Reply {
    /// All but plaintext.
    pub members: Map<String, Json>,
    /// The plaintext, if there is one in it.
    pub value: Option<Value>,
}

/// The bytes of a request, with a value as its SecretData if one is given.
pub fn request(mut members: Map<String, Json>, value: Option<(&Value, DataType)>) -> Value {
    let Some((value, kind)) = value else { return document(&members) };
    members.insert(SECRET_DATA_TYPE.to_owned(), kind.as_str().into());
    document(&Plain { members, name: SECRET_DATA, value: Value::copy_of(value.as_bytes()), kind })
}

impl Reply {
    /// Reads an answer; `None` where it is none.
    pub fn parse(answer: &[u8]) -> Option<Self> {
        let mut read = Members::parse(answer).ok()?;
        let value = read.plain(SECRET_DATA).or_else(|_| read.plain(RANDOM_PASSWORD)).ok();
        let members = read.rest()?;
        let is_binary = members.get(SECRET_DATA_TYPE).and_then(Json::as_str) == Some(DataType::Binary.as_str());
        let value = match value {
            Some(text) if is_binary => Some(from_base64(&text)?),
            other => other,
        };
        Some(Self { members, value })
    }

    /// Code, message and advice, where the answer is an error.
    pub fn error(&self) -> Option<(String, String, Option<String>)> {
        let text = |name: &str| self.members.get(name).and_then(Json::as_str).map(str::to_owned);
        let code = text("Code").filter(|_| self.members.contains_key("HttpStatus"))?;
        Some((code, text("Message").unwrap_or_default(), text("Recommend")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_back() {
        for bytes in [&b"text \"\\\n\xc3\xa4"[..], b"\0\xff"] {
            let members = Map::from_iter([("Action".to_owned(), "PutSecretValue".into())]);
            let value = Value::copy_of(bytes);
            let sent = request(members, Some((&value, DataType::of(bytes))));
            let reply = Reply::parse(sent.as_bytes()).unwrap();
            assert_eq!(reply.value.as_ref().map(Value::as_bytes), Some(bytes));
            assert_eq!(reply.members["Action"], "PutSecretValue");
            assert!(reply.error().is_none());
        }
        let error = Reply::parse(br#"{"HttpStatus":404,"Code":"X","Message":"m","RequestId":"r"}"#).unwrap();
        assert_eq!(error.error(), Some(("X".to_owned(), "m".to_owned(), None)));
        assert!(Reply::parse(b"nonsense").is_none());
    }
}
