//! What `kmsfs export` writes: the shape stands there.

use serde_json::value::RawValue;

use super::found::{Finding, Found, Malformed, Skipped, Version, shape};
use super::json::{Object, array, binary, documents, object, text, unescape};
use crate::cli::export::{FORMAT, FORMAT_VERSION};

const NO_EXPORT: &str = "it is no export of kmsfs";
const NEWER: &str = "it was exported by a newer kmsfs";
const NO_NAME: &str = "a secret has no `name`";
const NO_VALUE: &str = "a version has neither a `text` nor a `base64` that can be read";

/// Reads a file that is called `from`.
pub fn parse(bytes: &[u8], from: &str) -> Result<Finding, Malformed> {
    let mut finding = Finding::default();
    for document in documents(bytes)? {
        let export = object(document, NO_EXPORT)?;
        if export.text("format", NO_EXPORT)? != FORMAT {
            return Err(shape(NO_EXPORT));
        }
        if export.get("version").map(RawValue::get) != Some(&FORMAT_VERSION.to_string()) {
            return Err(shape(NEWER));
        }
        for secret in array(export.get("secrets").ok_or(shape(NO_EXPORT))?, NO_EXPORT)? {
            read(&object(secret, NO_EXPORT)?, from, &mut finding)?;
        }
    }
    Ok(finding)
}

fn read(secret: &Object<'_>, from: &str, finding: &mut Finding) -> Result<(), Malformed> {
    let name = secret.text("name", NO_NAME)?;
    if name.is_empty() {
        return Err(shape(NO_NAME));
    }
    if secret.get("deletion").is_some() {
        finding.skipped.push(Skipped { what: name, why: "it was scheduled for deletion" });
        return Ok(());
    }
    let mut versions = Vec::new();
    for raw in array(secret.get("versions").ok_or(shape(NO_EXPORT))?, NO_EXPORT)? {
        let version = object(raw, NO_EXPORT)?;
        let value = match (version.get("text"), version.get("base64")) {
            (Some(text), None) => unescape(text.get(), NO_VALUE)?,
            (None, Some(bytes)) => binary(bytes, NO_VALUE)?,
            (Some(_), Some(_)) | (None, None) => return Err(shape(NO_VALUE)),
        };
        let stages = version.get("stages").map_or(Ok(Vec::new()), |stages| array(stages, NO_EXPORT))?;
        let stages = stages.into_iter().map(|stage| text(stage, NO_EXPORT)).collect::<Result<_, _>>()?;
        versions.push(Version { id: Some(version.text("id", NO_EXPORT)?), stages, value });
    }
    if versions.is_empty() {
        return Err(shape(NO_VALUE));
    }
    let mut tags = Vec::new();
    if let Some(found) = secret.get("tags") {
        for (key, value) in object(found, NO_EXPORT)?.0 {
            tags.push((key, text(value, NO_EXPORT)?));
        }
    }
    let instance = secret.text("instance", NO_EXPORT)?;
    let found = Found {
        from: from.to_owned(),
        instance: (!instance.is_empty()).then_some(instance),
        name,
        versions,
        tags,
        description: secret.text("description", NO_EXPORT)?,
        notes: Vec::new(),
    };
    finding.secrets.push(found.in_order());
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::import::pictures::picture;

    #[test]
    fn an_export_is_read() {
        let text = r#"{"format": "kmsfs export", "version": 1, "secrets": [
            {"instance": "prod", "name": "a/b", "description": "d", "tags": {"k": "v"}, "versions": [
                {"id": "two", "created": "x", "stages": ["ACSCurrent", "x"], "text": "a\nb"},
                {"id": "three", "created": "x", "stages": ["ACSPrevious"], "base64": "/wA="},
                {"id": "one", "stages": [], "text": "1"}]},
            {"instance": "prod", "name": "gone", "deletion": {"planned": "x"}}]}"#;
        let expected = "a/b [d] k=v <one  1> <three ACSPrevious \\xff\\x00> <two ACSCurrent,x a\\nb>\n-gone: it was scheduled for deletion\n";
        let finding = parse(text.as_bytes(), "f").unwrap();
        assert_eq!(picture(&finding), expected);
        assert_eq!(finding.secrets[0].instance.as_deref(), Some("prod"));
    }

    #[test]
    fn what_is_none_is_named() {
        let export = |secret: &str| format!(r#"{{"format": "kmsfs export", "version": 1, "secrets": [{secret}]}}"#);
        for (text, what) in [
            ("{}".to_owned(), NO_EXPORT),
            (export("").replace('1', "2"), NEWER),
            (export("7"), NO_EXPORT),
            (export("{}"), NO_NAME),
            (export(r#"{"name": "a", "versions": []}"#), NO_VALUE),
            (export(r#"{"name": "a", "versions": [{"id": "x"}]}"#), NO_VALUE),
            (export(r#"{"name": "a", "versions": [{"id": "x", "text": "a", "base64": ""}]}"#), NO_VALUE),
        ] {
            assert_eq!(parse(text.as_bytes(), "f").map(drop), Err(shape(what)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, "f").map(drop);
        }
    }
}
