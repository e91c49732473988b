//! What `vault kv get -format=json` prints of a KV store of version 2. The path does not stand in it: a file of one answer is
//! named after itself, of several the document is an object of path and answer, or an array of answers with a `path`.
//!
//! ```json
//! {"data": {"data": {"user": "u", "password": "p"}, "metadata": {"version": 3, "custom_metadata": {"owner": "me"}}}}
//! {"db/main": {"data": {…}}, "web": {"data": {…}}}
//! [{"path": "db/main", "data": {…}}]
//! ```
//!
//! Such a secret is its members: the value is the object `data.data` as JSON, which is what KMS calls Key/Value.

use serde_json::value::RawValue;

use super::found::{Finding, Found, Malformed, Skipped, Version, shape};
use super::json::{Object, array, compact, documents, object, text};

const NO_ANSWER: &str = "there is something that is no answer of `vault kv get -format=json`";
const NO_METADATA: &str = "`data.metadata` is missing; is it a KV store of version 2?";
const NO_PATH: &str = "an answer in an array has no `path`";
const BAD_CUSTOM: &str = "`custom_metadata` is no object of texts";

/// Reads a file that is called `from`; the secret of a lone answer is called `stem`.
pub fn parse(bytes: &[u8], from: &str, stem: &str) -> Result<Finding, Malformed> {
    let mut reader = Reader { from, finding: Finding::default() };
    for document in documents(bytes)? {
        if document.get().starts_with('[') {
            for element in array(document, NO_ANSWER)? {
                let answer = object(element, NO_ANSWER)?;
                let path = answer.text("path", NO_PATH)?;
                if path.is_empty() {
                    return Err(shape(NO_PATH));
                }
                reader.answer(&path, &answer)?;
            }
            continue;
        }
        let answer = object(document, NO_ANSWER)?;
        if is_answer(&answer) {
            reader.answer(stem, &answer)?;
        } else {
            for (path, raw) in &answer.0 {
                reader.answer(path, &object(raw, NO_ANSWER)?)?;
            }
        }
    }
    Ok(reader.finding)
}

/// An answer has a `data` with `metadata`; a path may be called `data`, but has no such thing in it.
fn is_answer(answer: &Object<'_>) -> bool {
    let data = answer.get("data").and_then(|data| object(data, NO_ANSWER).ok());
    data.is_some_and(|data| data.get("metadata").is_some() || data.get("data").is_some() && data.0.len() == 1)
}

struct Reader<'a> {
    from: &'a str,
    finding: Finding,
}

impl Reader<'_> {
    fn answer(&mut self, path: &str, answer: &Object<'_>) -> Result<(), Malformed> {
        let data = object(answer.get("data").ok_or(shape(NO_ANSWER))?, NO_ANSWER)?;
        let metadata = object(data.get("metadata").ok_or(shape(NO_METADATA))?, NO_METADATA)?;
        let Some(value) = data.get("data") else {
            self.finding.skipped.push(Skipped { what: path.to_owned(), why: "this version of it is deleted" });
            return Ok(());
        };
        object(value, NO_ANSWER)?;
        let number = metadata.get("version").map(RawValue::get).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let mut tags = Vec::new();
        if let Some(custom) = metadata.get("custom_metadata") {
            for (key, value) in object(custom, BAD_CUSTOM)?.0 {
                tags.push((key, text(value, BAD_CUSTOM)?));
            }
        }
        let id = number.map(|number| format!("v{number}"));
        self.finding.secrets.push(Found {
            from: self.from.to_owned(),
            instance: None,
            name: path.trim_matches('/').to_owned(),
            versions: vec![Version { id, stages: Vec::new(), value: compact(value) }],
            tags,
            description: String::new(),
            notes: Vec::new(),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::import::pictures::picture;

    /// The documented answer, with other values.
    const ANSWER: &str = r#"{
        "request_id": "f7c9a1b2-0000-0000-0000-000000000000", "lease_id": "", "lease_duration": 0, "renewable": false,
        "data": {
            "data": { "passcode": "my-long-passcode", "n": 7 },
            "metadata": { "created_time": "2026-01-04T01:02:03.4Z", "custom_metadata": {"owner": "jdoe"},
                          "deletion_time": "", "destroyed": false, "version": 2 }
        }, "warnings": null, "mount_type": "kv" }"#;

    #[test]
    fn the_documented_shapes() {
        let value = r#"<v2  {"passcode":"my-long-passcode","n":7}>"#;
        let one = format!("creds [] owner=jdoe {value}\n");
        let with_path = ANSWER.replacen('{', r#"{"path": "/secret/creds/","#, 1);
        let deleted =
            r#"{"data": {"data": null, "metadata": {"version": 3, "deletion_time": "x", "custom_metadata": null}}}"#;
        let cases = [
            (ANSWER.to_owned(), one.clone()),
            (format!("[{with_path}]"), one.replace("creds", "secret/creds")),
            (
                format!(r#"{{"a/b": {ANSWER}, "data": {ANSWER}}}"#),
                one.replace("creds", "a/b") + &one.replace("creds", "data"),
            ),
            (
                format!(r#"{{"a": {ANSWER}, "gone": {deleted}}}"#),
                one.replace("creds", "a") + "-gone: this version of it is deleted\n",
            ),
            (deleted.to_owned(), "-creds: this version of it is deleted\n".to_owned()),
            ("{}".to_owned(), String::new()),
        ];
        for (text, expected) in cases {
            assert_eq!(picture(&parse(text.as_bytes(), "f", "creds").unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_none_of_them_is_named() {
        for (text, what) in [
            ("7", NO_ANSWER),
            (r#"{"a": 7}"#, NO_ANSWER),
            // KV of version 1.
            (r#"{"data": {"passcode": "x", "y": "z"}}"#, NO_ANSWER),
            (r#"{"data": {"data": {"passcode": "x"}}}"#, NO_METADATA),
            (r#"[{"data": {}}]"#, NO_PATH),
            (r#"{"data": {"data": 7, "metadata": {}}}"#, NO_ANSWER),
            (r#"{"data": {"data": {}, "metadata": {"custom_metadata": {"a": 1}}}}"#, BAD_CUSTOM),
        ] {
            assert_eq!(parse(text.as_bytes(), "f", "s").map(drop), Err(shape(what)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, "f", "s").map(drop);
        }

        #[test]
        fn nothing_like_an_answer_makes_it_panic(
            text in "(\\{|\\}|\\[|\\]|,|:|\"data\"|\"metadata\"|\"path\"|\"version\"|\"custom_metadata\"|\"x\"|7|null){0,24}"
        ) {
            let _ = parse(text.as_bytes(), "f", "s").map(drop);
        }
    }
}
