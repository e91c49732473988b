//! Edits by hand, and any edit of any object held against serde_json.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn name(text: &str) -> MemberName {
    MemberName::parse(text.as_bytes()).unwrap()
}

fn edited(text: &str, member: &str, how: Edit<'_>) -> Result<(String, Edited), Refusal> {
    let mut out = String::new();
    edit(Some(text.as_bytes()), &name(member), how, &mut out).map(|edited| (out, edited))
}

#[test]
fn all_else_stays_as_it_stands() {
    let pretty = "{\n  \"a\": 1.10,\n  \"b\" : \"x\"\n}\n";
    for (text, member, how, expected) in [
        (r#"{"a":"x","b":2}"#, "a", Edit::Set(b"y"), r#"{"a":"y","b":2}"#),
        (r#"{"a":"x","b":2}"#, "b", Edit::Set(b"3"), r#"{"a":"x","b":"3"}"#),
        (
            r#"{"a":"x","b":2}"#,
            "c",
            Edit::Set(b"\"\\\n\x01\xc3\xa9"),
            "{\"a\":\"x\",\"b\":2,\"c\":\"\\\"\\\\\\n\\u0001\u{e9}\"}",
        ),
        (r#"{"a":"\u0078\"","b":2}"#, "a", Edit::Append(b"y"), r#"{"a":"x\"y","b":2}"#),
        (r#"{"a":[1, 2]}"#, "a", Edit::Append(b"!"), r#"{"a":"[1, 2]!"}"#),
        (r#"{"a":1}"#, "n", Edit::Append(b"y"), r#"{"a":1,"n":"y"}"#),
        ("{}", "a", Edit::Set(b"x"), r#"{"a":"x"}"#),
        (" { } ", "a", Edit::Set(b"x"), " {\"a\":\"x\" } "),
        (pretty, "c", Edit::Set(b"y"), "{\n  \"a\": 1.10,\n  \"b\" : \"x\",\n  \"c\" : \"y\"\n}\n"),
        ("{ \"a\": 1 }", "b", Edit::Set(b"y"), "{ \"a\": 1, \"b\": \"y\" }"),
        (pretty, "b", Edit::Set(b"y"), "{\n  \"a\": 1.10,\n  \"b\" : \"y\"\n}\n"),
        (pretty, "a", Edit::Remove, "{\n  \"b\" : \"x\"\n}\n"),
        (pretty, "b", Edit::Remove, "{\n  \"a\": 1.10\n}\n"),
        (r#"{"a":1,"b":2,"c":3}"#, "b", Edit::Remove, r#"{"a":1,"c":3}"#),
        ("{ \"a\" : 1 }", "a", Edit::Remove, "{ }"),
        (r#"{"q\"":",\":","a":1}"#, "a", Edit::Remove, r#"{"q\"":",\":"}"#),
        (r#"{"q\"":",\":","a":1}"#, "b", Edit::Set(b"x"), r#"{"q\"":",\":","a":1,"b":"x"}"#),
    ] {
        assert_eq!(edited(text, member, how), Ok((expected.to_owned(), Edited::Changed)), "{text} {member}");
    }
    assert_eq!(edited(r#"{"q":",\":","\"":1}"#, "\"", Edit::Remove).unwrap().0, r#"{"q":",\":"}"#);
}

#[test]
fn the_same_again_is_nothing() {
    let text = r#"{"a":"\u0078","n":5}"#;
    assert_eq!(edited(text, "a", Edit::Set(b"x")).unwrap().1, Edited::Same);
    assert_eq!(
        edited(text, "n", Edit::Set(b"5")).unwrap().1,
        Edited::Same,
        "a copy that is put back makes no string of a number"
    );
    assert_eq!(edited(text, "n", Edit::Set(b"6")).unwrap(), (r#"{"a":"\u0078","n":"6"}"#.to_owned(), Edited::Changed));
}

#[test]
fn what_no_member_can_be_is_refused() {
    let many: Vec<_> = (0..512).map(|n| format!("\"{n}\":0")).collect();
    let many = format!("{{{}}}", many.join(","));
    for (text, member, how, refusal) in [
        ("x", "a", Edit::Set(&b"x"[..]), Refusal::NotKeyValue),
        ("[1]", "a", Edit::Remove, Refusal::NotKeyValue),
        ("{}", "a", Edit::Set(b"\xff"), Refusal::BadMember),
        ("{}", "a", Edit::Set(b""), Refusal::EmptyValue),
        ("{\"b\":1}", "a", Edit::Remove, Refusal::NoSuchMember),
        (&many, "a", Edit::Set(b"x"), Refusal::TooManyMembers),
    ] {
        assert_eq!(edited(text, member, how), Err(refusal), "{text} {member}");
    }
    assert!(edited(&many, "7", Edit::Set(b"x")).is_ok());
    let mut out = String::new();
    assert_eq!(edit(None, &name("a"), Edit::Set(b"x"), &mut out), Ok(Edited::Changed));
    assert_eq!(out, r#"{"a":"x"}"#);
}

/// Any JSON value, as it may stand in a text.
fn raw() -> impl Strategy<Value = String> {
    let text = any::<String>().prop_map(|text| serde_json::json!(text).to_string());
    let blanks =
        prop::sample::select(vec!["[ ]", "{ \"x\" :\t1 }", "[1,\n2]", "1.10", "-0", "12345678901234567890", "1E+2"]);
    prop_oneof![
        4 => text.clone(),
        2 => blanks.prop_map(str::to_owned),
        1 => prop::sample::select(vec!["null", "true", "\"\\u0041\\/\"", "\"\\ud83d\\ude00\""]).prop_map(str::to_owned),
        1 => vec(text, 0..3).prop_map(|texts| format!("[{}]", texts.join(" ,"))),
    ]
}

/// A name, and how it may be spelled.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-e]", 1 => "\\PC{0,3}", 1 => Just("\"\\ ,:{}".to_owned())]
}

fn blank() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "", "", " ", "\n  ", "\t", " \r\n"])
}

proptest! {
    /// serde_json reads of the edited text what it reads of the old one, with that one member another; and all others are spelled as before.
    #[test]
    fn one_member_is_another_and_no_other(
        members in btree_map(key(), raw(), 0..6),
        blanks in vec(blank(), 5),
        member in "[a-f]",
        value in "\\PC{1,6}|[\0-\u{1f}\"\\\\]{1,3}",
        way in 0usize..4,
    ) {
        let [a, b, c, d, e] = blanks[..] else { unreachable!("five were taken") };
        let written: Vec<_> = members.iter().map(|(name, raw)| format!("{a}{}{b}:{c}{raw}{d}", serde_json::json!(name))).collect();
        let text = format!("{e}{{{}{a}}}{d}", written.join(","));
        let how = [Edit::Set(value.as_bytes()), Edit::Append(value.as_bytes()), Edit::Remove, Edit::Put(value.as_bytes())][way];
        let parsed = |text: &str| serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text).unwrap();
        let before = parsed(&text);
        let read = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned());
        match (edited(&text, &member, how), before.get(&member)) {
            (Err(refusal), old) => prop_assert!(way == 2 && old.is_none() && refusal == Refusal::NoSuchMember),
            (Ok((out, Edited::Same)), old) => prop_assert!(way == 0 && out.is_empty() && read(old.unwrap()) == value),
            (Ok((out, Edited::Changed)), old) => {
                let after = parsed(&out);
                for (name, raw) in before.iter().filter(|(name, _)| **name != member) {
                    prop_assert_eq!(after.get(name).map(|raw| raw.get()), Some(raw.get()), "{}", name);
                }
                let expected = match how {
                    Edit::Set(_) | Edit::Put(_) => Some(value.clone()),
                    Edit::Append(_) => Some(old.map_or(String::new(), |old| read(old)) + &value),
                    Edit::Remove => None,
                };
                prop_assert_eq!(after.get(&member).map(|raw| serde_json::from_str::<String>(raw.get()).unwrap()), expected);
                let count = before.len() + usize::from(old.is_none()) - usize::from(way == 2);
                prop_assert_eq!(after.len(), count);
                prop_assert!(Object::parse(out.as_bytes()).is_some());
            }
        }
    }

    /// A value with members reads as serde_json reads it.
    #[test]
    fn members_are_written_as_they_are(members in btree_map("\\PC{0,4}", any::<String>(), 0..5)) {
        let mut out = String::new();
        write_object(members.iter().map(|(name, value)| (name.as_str(), value.as_str())), &mut out).unwrap();
        prop_assert_eq!(serde_json::from_str::<BTreeMap<String, String>>(&out).unwrap(), members);
    }
}
