//! What the command line of AWS Secrets Manager prints: `get-secret-value` and `batch-get-secret-value` for the values,
//! `describe-secret` and `list-secrets` for tags and descriptions; any number of them one behind the other, or in an array.
//!
//! ```json
//! {"Name": "db/password", "VersionId": "…", "SecretString": "…", "VersionStages": ["AWSCURRENT"]}
//! {"SecretValues": [{"Name": "…", "SecretBinary": "<base64>"}], "Errors": []}
//! {"Name": "db/password", "Description": "…", "Tags": [{"Key": "env", "Value": "prod"}]}
//! {"SecretList": [{"Name": "…", "Tags": []}]}
//! ```

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::found::{CURRENT, Finding, Found, Malformed, PREVIOUS, Skipped, Version, shape};
use super::json::{Object, array, binary, documents, object, text, unescape};

/// Labels that are built in there and here.
const STAGES: [(&str, &str); 2] = [("AWSCURRENT", CURRENT), ("AWSPREVIOUS", PREVIOUS)];
/// One that says nothing here: a rotation was under way.
const PENDING: &str = "AWSPENDING";

/// What is known of one secret besides its values.
#[derive(Default)]
struct About {
    description: String,
    tags: Vec<(String, String)>,
}

#[derive(Default)]
struct Reader {
    names: Vec<String>,
    versions: BTreeMap<String, Vec<Version>>,
    about: BTreeMap<String, About>,
    skipped: Vec<Skipped>,
}

/// Reads all documents of a file that is called `from`.
pub fn parse(bytes: &[u8], from: &str) -> Result<Finding, Malformed> {
    let mut reader = Reader::default();
    for document in documents(bytes)? {
        if document.get().starts_with('[') {
            array(document, NO_ANSWER)?.into_iter().try_for_each(|element| reader.answer(element))?;
        } else {
            reader.answer(document)?;
        }
    }
    Ok(reader.finish(from))
}

const NO_ANSWER: &str = "there is something that is no answer of AWS Secrets Manager";
const NO_NAME: &str = "a secret has no `Name`";
const BAD_VALUE: &str = "a `SecretString` is no string";
const BAD_BINARY: &str = "a `SecretBinary` is no base64";
const BAD_STAGES: &str = "`VersionStages` is no list of labels";
const BAD_TAGS: &str = "`Tags` is no list of keys and values";

impl Reader {
    fn answer(&mut self, raw: &RawValue) -> Result<(), Malformed> {
        let answer = object(raw, NO_ANSWER)?;
        for list in ["SecretValues", "SecretList"] {
            if let Some(list) = answer.get(list) {
                array(list, NO_ANSWER)?
                    .into_iter()
                    .try_for_each(|element| self.secret(&object(element, NO_ANSWER)?))?;
            }
        }
        if let Some(errors) = answer.get("Errors") {
            for error in array(errors, NO_ANSWER)? {
                let what = object(error, NO_ANSWER)?.text("SecretId", NO_ANSWER)?;
                self.skipped.push(Skipped { what, why: "AWS could not read it" });
            }
        }
        let is_list = ["SecretValues", "SecretList", "Errors"].iter().any(|list| answer.get(list).is_some());
        if is_list { Ok(()) } else { self.secret(&answer) }
    }

    fn secret(&mut self, answer: &Object<'_>) -> Result<(), Malformed> {
        let name = answer.text("Name", NO_NAME)?;
        if name.is_empty() {
            return Err(shape(NO_NAME));
        }
        let value = match (answer.get("SecretString"), answer.get("SecretBinary")) {
            (Some(string), _) => Some(unescape(string.get(), BAD_VALUE)?),
            (None, Some(bytes)) => Some(binary(bytes, BAD_BINARY)?),
            (None, None) => None,
        };
        if !self.names.contains(&name) {
            self.names.push(name.clone());
        }
        if let Some(value) = value {
            let id = answer.text("VersionId", NO_ANSWER)?;
            let stages = answer.get("VersionStages").map_or(Ok(Vec::new()), |stages| array(stages, BAD_STAGES))?;
            let stages = stages.into_iter().map(|stage| text(stage, BAD_STAGES)).collect::<Result<Vec<_>, _>>()?;
            let stages = stages.into_iter().filter(|stage| stage != PENDING).map(|stage| here(&stage)).collect();
            let versions = self.versions.entry(name).or_default();
            versions.push(Version { id: (!id.is_empty()).then_some(id), stages, value });
            return Ok(());
        }
        let about = self.about.entry(name).or_default();
        about.description = answer.text("Description", "a `Description` is no string")?;
        for tag in answer.get("Tags").map_or(Ok(Vec::new()), |tags| array(tags, BAD_TAGS))? {
            let tag = object(tag, BAD_TAGS)?;
            about.tags.push((tag.text("Key", BAD_TAGS)?, tag.text("Value", BAD_TAGS)?));
        }
        Ok(())
    }

    fn finish(mut self, from: &str) -> Finding {
        let mut finding = Finding { skipped: self.skipped, ..Finding::default() };
        for name in self.names {
            let Some(versions) = self.versions.remove(&name) else {
                finding.skipped.push(Skipped { what: name, why: "no value of it is there" });
                continue;
            };
            let About { description, tags } = self.about.remove(&name).unwrap_or_default();
            let found =
                Found { from: from.to_owned(), instance: None, name, versions, tags, description, notes: Vec::new() };
            finding.secrets.push(found.in_order());
        }
        finding
    }
}

/// A label by the name that it has here.
fn here(stage: &str) -> String {
    STAGES.iter().find(|(there, _)| *there == stage).map_or(stage, |(_, here)| here).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::import::pictures::picture;

    #[test]
    fn the_documented_shapes() {
        // The examples of the command's reference, with other values.
        let get = r#"{
            "ARN": "arn:aws:secretsmanager:us-west-2:123456789012:secret:MyTestSecret-a1b2c3", "Name": "MyTestSecret",
            "VersionId": "a1b2c3d4-5678-90ab-cdef-EXAMPLE11111",
            "SecretString": "{\"user\":\"diegor\",\"password\":\"EXAMPLE-PASSWORD\"}",
            "VersionStages": ["AWSCURRENT"], "CreatedDate": 1523477145.713 }"#;
        let previous = r#"{"Name": "MyTestSecret", "VersionId": "a1b2c3d4-5678-90ab-cdef-EXAMPLE22222",
            "SecretString": "before", "VersionStages": ["AWSPREVIOUS", "mine"], "CreatedDate": 1.0}"#;
        let batch = r#"{"SecretValues": [
            {"ARN": "x", "Name": "two", "VersionId": "v2", "SecretBinary": "/wA=", "VersionStages": ["AWSCURRENT", "AWSPENDING"]}
            ], "Errors": [{"SecretId": "three", "ErrorCode": "ResourceNotFoundException", "Message": "m"}]}"#;
        let describe = r#"{"Name": "MyTestSecret", "Description": "My test secret", "RotationEnabled": false,
            "Tags": [{"Key": "Environment", "Value": "Test"}], "VersionIdsToStages": {}}"#;
        let list = r#"{"SecretList": [{"Name": "two", "Tags": [{"Key": "a", "Value": ""}]}, {"Name": "four"}]}"#;
        let expected = "\
            MyTestSecret [My test secret] Environment=Test \
            <a1b2c3d4-5678-90ab-cdef-EXAMPLE22222 ACSPrevious,mine before> \
            <a1b2c3d4-5678-90ab-cdef-EXAMPLE11111 ACSCurrent {\"user\":\"diegor\",\"password\":\"EXAMPLE-PASSWORD\"}>\n\
            two [] a= <v2 ACSCurrent \\xff\\x00>\n\
            -three: AWS could not read it\n-four: no value of it is there\n";
        let one = [get, previous, batch, describe, list].join("\n");
        let other = format!("[{}]", [list, describe, previous, batch, get].join(","));
        assert_eq!(picture(&parse(one.as_bytes(), "f").unwrap()), expected);
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(lines(&picture(&parse(other.as_bytes(), "f").unwrap())), lines(expected), "in whatever order");
    }

    #[test]
    fn what_is_none_of_them_is_named() {
        for (text, what) in [
            ("7", NO_ANSWER),
            ("[7]", NO_ANSWER),
            ("\"secret\"", NO_ANSWER),
            ("{}", NO_NAME),
            (r#"{"SecretString": "x"}"#, NO_NAME),
            (r#"{"Name": "a", "SecretString": 7}"#, BAD_VALUE),
            (r#"{"Name": "a", "SecretBinary": "*"}"#, BAD_BINARY),
            (r#"{"Name": "a", "SecretString": "x", "VersionStages": "AWSCURRENT"}"#, BAD_STAGES),
            (r#"{"Name": "a", "Tags": [7]}"#, BAD_TAGS),
            (r#"{"SecretValues": {"Name": "a"}}"#, NO_ANSWER),
        ] {
            assert_eq!(parse(text.as_bytes(), "f").map(drop), Err(shape(what)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, "f").map(drop);
        }

        #[test]
        fn nothing_like_an_answer_makes_it_panic(
            text in "(\\{|\\}|\\[|\\]|,|:|\"Name\"|\"SecretString\"|\"SecretBinary\"|\"Tags\"|\"x\"|\"SecretValues\"|7|null){0,20}"
        ) {
            let _ = parse(text.as_bytes(), "f").map(drop);
        }
    }
}
