//! A document, read: its statements. What is wrong is refused with the line it stands on.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess};
use serde_json::error::Category;

use super::actions::{ActionText, Actions};
use super::condition::{Condition, Conditions};
use super::principal::{Principal, PrincipalText};
use super::shape::{OneOf, OneOrMore, Read, Shape, all_of, fill, given};
use crate::secret::Refusal;

/// The only version there is.
const VERSION: &str = "1";
/// Longest Sid in characters.
const SID_MAX: usize = 128;
/// The only resource there is: what the policy is of.
const RESOURCE: &str = "*";

/// What a statement does where it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It allows.
    Allow,
    /// It denies, whatever else allows.
    Deny,
}

/// A statement as messages call it: `statement 2 ("the application reads")`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cited<'a> {
    /// Its place in the document, from 1.
    pub number: usize,
    /// What its author calls it.
    pub sid: Option<&'a str>,
    /// What it does.
    pub effect: Effect,
}

impl fmt::Display for Cited<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement {}", self.number)?;
        // Escaped, since it may hold what turns a terminal's text around.
        self.sid.map_or(Ok(()), |sid| write!(f, " ({sid:?})"))
    }
}

/// One statement of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) sid: Option<Box<str>>,
    pub(super) effect: Effect,
    pub(super) principals: Vec<Principal>,
    pub(super) actions: Actions,
    pub(super) conditions: Vec<Condition>,
}

impl Statement {
    pub(super) fn allows(&self) -> bool {
        self.effect == Effect::Allow
    }

    /// Whether it is, for each account of which it names everybody, what every secret says that has no policy of its own.
    pub(super) fn is_default(&self) -> bool {
        self.allows() && self.actions.all && self.conditions.is_empty()
    }
}

/// Reads a document.
pub(super) fn read(text: &str) -> Result<Vec<Statement>, Refusal> {
    let mut from = serde_json::Deserializer::from_str(text);
    let read = Read(Document).deserialize(&mut from);
    read.and_then(|statements| from.end().map(|()| statements)).map_err(|error| refusal(&error))
}

fn refusal(error: &serde_json::Error) -> Refusal {
    let (line, said) = (error.line(), error.to_string());
    let place = format!(" at line {line} column {}", error.column());
    let why = said.strip_suffix(&place).unwrap_or(&said);
    let why = match error.classify() {
        Category::Data => format!("line {line}: {why}"),
        Category::Syntax | Category::Eof | Category::Io => format!("line {line}: this is no JSON: {why}"),
    };
    Refusal::BadPolicy { why }
}

struct Document;

#[derive(Clone, Copy)]
enum DocumentMember {
    Version,
    Statement,
}

const OF_DOCUMENT: [(&str, DocumentMember); 2] =
    [("Version", DocumentMember::Version), ("Statement", DocumentMember::Statement)];

impl<'de> Shape<'de> for Document {
    type Value = Vec<Statement>;

    fn is(&self) -> String {
        "a policy is an object with the members Version and Statement".to_owned()
    }

    fn members<A: MapAccess<'de>>(self, mut members: A) -> Result<Vec<Statement>, A::Error> {
        let (mut version, mut statements) = (None, None);
        while let Some((name, member)) =
            members.next_key_seed(Read(OneOf { what: "member of a policy", table: &OF_DOCUMENT }))?
        {
            match member {
                DocumentMember::Version => fill(&mut version, name, Only(VERSION, "Version is \"1\""), &mut members)?,
                DocumentMember::Statement => fill(&mut statements, name, Statements, &mut members)?,
            }
        }
        given::<(), _>(version, "the policy", "Version")?;
        given(statements, "the policy", "Statement")
    }
}

struct Statements;

impl<'de> Shape<'de> for Statements {
    type Value = Vec<Statement>;

    fn is(&self) -> String {
        "Statement is a list of statements".to_owned()
    }

    fn list<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<Statement>, A::Error> {
        all_of(OneStatement, list)
    }
}

#[derive(Clone, Copy)]
struct OneStatement;

#[derive(Clone, Copy)]
enum Member {
    Sid,
    Effect,
    Principal,
    Action,
    Resource,
    Condition,
}

const OF_STATEMENT: [(&str, Member); 6] = [
    ("Sid", Member::Sid),
    ("Effect", Member::Effect),
    ("Principal", Member::Principal),
    ("Action", Member::Action),
    ("Resource", Member::Resource),
    ("Condition", Member::Condition),
];

impl<'de> Shape<'de> for OneStatement {
    type Value = Statement;

    fn is(&self) -> String {
        "a statement is an object with the members Effect, Principal, Action and Resource".to_owned()
    }

    fn members<A: MapAccess<'de>>(self, mut members: A) -> Result<Statement, A::Error> {
        let (mut sid, mut effect, mut principals) = (None, None, None);
        let (mut actions, mut resource, mut conditions) = (None, None, None);
        while let Some((name, member)) =
            members.next_key_seed(Read(OneOf { what: "member of a statement", table: &OF_STATEMENT }))?
        {
            match member {
                Member::Sid => fill(&mut sid, name, Sid, &mut members)?,
                Member::Effect => fill(&mut effect, name, EffectText, &mut members)?,
                Member::Principal => fill(&mut principals, name, Principals, &mut members)?,
                Member::Action => fill(&mut actions, name, OneOrMore(ActionText), &mut members)?,
                Member::Resource => {
                    let only = Only(RESOURCE, "Resource is `*`, which is what the policy is of");
                    fill(&mut resource, name, OneOrMore(only), &mut members)?;
                }
                Member::Condition => fill(&mut conditions, name, Conditions, &mut members)?,
            }
        }
        const WHOLE: &str = "the statement";
        given::<Vec<()>, _>(resource, WHOLE, "Resource")?;
        Ok(Statement {
            sid,
            effect: given(effect, WHOLE, "Effect")?,
            principals: given(principals, WHOLE, "Principal")?,
            actions: given(actions, WHOLE, "Action")?.into_iter().fold(Actions::default(), Actions::and),
            conditions: conditions.unwrap_or_default(),
        })
    }
}

/// A text that can be no other, and what is said of it.
#[derive(Clone, Copy)]
struct Only(&'static str, &'static str);

impl Shape<'_> for Only {
    type Value = ();

    fn is(&self) -> String {
        self.1.to_owned()
    }

    fn text<E: Error>(self, text: &str) -> Result<(), E> {
        if text == self.0 { Ok(()) } else { Err(E::custom(self.is())) }
    }
}

struct Sid;

impl Shape<'_> for Sid {
    type Value = Box<str>;

    fn is(&self) -> String {
        format!("Sid is text of at most {SID_MAX} characters, without control characters")
    }

    fn text<E: Error>(self, text: &str) -> Result<Box<str>, E> {
        let good = text.chars().count() <= SID_MAX && !text.chars().any(char::is_control);
        if good { Ok(text.into()) } else { Err(E::custom(self.is())) }
    }
}

struct EffectText;

impl Shape<'_> for EffectText {
    type Value = Effect;

    fn is(&self) -> String {
        "Effect is `Allow` or `Deny`".to_owned()
    }

    fn text<E: Error>(self, text: &str) -> Result<Effect, E> {
        match text {
            "Allow" => Ok(Effect::Allow),
            "Deny" => Ok(Effect::Deny),
            _ => Err(E::custom(self.is())),
        }
    }
}

struct Principals;

const OF_PRINCIPAL: [(&str, ()); 1] = [("RAM", ())];

impl<'de> Shape<'de> for Principals {
    type Value = Vec<Principal>;

    fn is(&self) -> String {
        "Principal is an object with the member RAM, which has one principal or a list of them".to_owned()
    }

    fn members<A: MapAccess<'de>>(self, mut members: A) -> Result<Vec<Principal>, A::Error> {
        let mut ram = None;
        while let Some((name, ())) =
            members.next_key_seed(Read(OneOf { what: "member of Principal", table: &OF_PRINCIPAL }))?
        {
            fill(&mut ram, name, OneOrMore(PrincipalText), &mut members)?;
        }
        given(ram, "the Principal", "RAM")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Policy;
    use super::*;

    const GOOD: &str = r#"{
  "Version": "1",
  "Statement": [
    {
      "Sid": "one",
      "Effect": "Allow",
      "Principal": { "RAM": ["acs:ram::1192853035118460:role/app"] },
      "Action": ["kms:GetSecretValue"],
      "Resource": ["*"],
      "Condition": { "StringLike": { "kmsfs:Cgroup": "/a/*" } }
    }
  ]
}"#;

    fn why(text: &str) -> String {
        match Policy::parse(text.as_bytes()) {
            Err(Refusal::BadPolicy { why }) => why,
            other => unreachable!("{text}: {other:?}"),
        }
    }

    /// (what of the good one, is what in its place, and why that is refused)
    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (good, bad, expected) in [
            (r#""1""#, r#""2""#, "line 2: Version is \"1\""),
            (r#""1""#, "1", "line 2: Version is \"1\""),
            (r#""Version": "1","#, "", "line 13: the policy that ends here has no Version"),
            ("Version", "version", "line 2: `version` is no member of a policy: there is Version, Statement"),
            (
                r#""1","#,
                "\"1\",\n\"Version\": \"1\",",
                "line 3: `Version` stands here for the second time: leave one of them",
            ),
            ("\"one\"", "\"a\\u0007\"", "line 5: Sid is text of at most 128 characters, without control characters"),
            ("\"one\"", "7", "line 5: Sid is text of at most 128 characters, without control characters"),
            ("\"Allow\"", "\"allow\"", "line 6: Effect is `Allow` or `Deny`"),
            ("\"Allow\"", "true", "line 6: Effect is `Allow` or `Deny`"),
            ("\"Effect\": \"Allow\",", "", "line 11: the statement that ends here has no Effect"),
            ("\"RAM\"", "\"Service\"", "line 7: `Service` is no member of Principal: there is RAM"),
            (
                "{ \"RAM\": [\"acs:ram::1192853035118460:role/app\"] }",
                "{}",
                "line 7: the Principal that ends here has no RAM",
            ),
            (
                "\"RAM\": [\"acs:ram::1192853035118460:role/app\"]",
                "\"RAM\": []",
                "line 7: the list is empty: a principal is",
            ),
            ("1192853035118460:role", "119285303511846:role", "line 7: a principal is `acs:ram::<16 digits>:`"),
            ("[\"kms:GetSecretValue\"]", "[]", "line 8: the list is empty: an action is `*`"),
            ("kms:GetSecretValue", "ecs:Start", "line 8: an action is `*`, or `kms:` and a name"),
            ("\"kms:GetSecretValue\"", "\n\"kms:*\",\n[\"kms:*\"]", "line 10: an action is `*`, or `kms:` and a name"),
            ("\"Action\"", "\"NotAction\"", "line 8: `NotAction` is no member of a statement: there is Sid, Effect, "),
            ("[\"*\"]", "[\"*\", \"acs:kms:x\"]", "line 9: Resource is `*`, which is what the policy is of"),
            ("\"Resource\": [\"*\"],", "", "line 11: the statement that ends here has no Resource"),
            ("StringLike", "IpAddress", "line 10: `IpAddress` is no operator of a condition: there is DateEquals, "),
            (
                "kmsfs:Cgroup",
                "acs:SourceIp",
                "line 10: `acs:SourceIp` is no key of a condition: there is acs:CurrentTime, ",
            ),
            ("StringLike", "NumericEquals", "line 10: `kmsfs:Cgroup` does not go with NumericEquals: "),
            ("  ]\n}", "  ]\n", "line 13: this is no JSON: EOF while parsing"),
            ("  ]\n}", "  ]\n}\n{", "line 14: this is no JSON: trailing characters"),
            ("\"Sid\": \"one\",", "\"Sid\": \"one\"", "line 6: this is no JSON: expected `,` or `}`"),
        ] {
            assert!(GOOD.contains(good), "{good}");
            let said = why(&GOOD.replacen(good, bad, 1));
            assert!(said.starts_with(expected), "{bad}: {said}");
        }
    }

    #[test]
    fn other_json_is_no_policy() {
        for (text, expected) in [
            ("[]", "line 1: a policy is an object"),
            ("\n\"x\"", "line 2: a policy is an object"),
            ("null", "line 1: a policy is an object"),
            ("-1", "line 1: a policy is an object"),
            ("1.5", "line 1: a policy is an object"),
            ("{}", "line 1: the policy that ends here has no Version"),
            (r#"{"Version":"1"}"#, "line 1: the policy that ends here has no Statement"),
            (r#"{"Version":"1","Statement":[]}"#, "line 1: the list is empty"),
            (r#"{"Version":"1","Statement":{}}"#, "line 1: Statement is a list of statements"),
            (r#"{"Version":"1","Statement":[7]}"#, "line 1: a statement is an object"),
            ("nonsense", "line 1: this is no JSON"),
            ("\0", "line 1: this is no JSON"),
            ("\u{feff}{}", "line 1: this is no JSON"),
        ] {
            let said = why(text);
            assert!(said.starts_with(expected), "{text}: {said}");
        }
        let bytes = Policy::parse(b"{\n\"Version\": \"\xff\"}");
        assert_eq!(bytes, Err(Refusal::BadPolicy { why: "line 2: bytes that are no UTF-8".to_owned() }));
    }

    #[test]
    fn a_refusal_repeats_nothing_but_names_of_members() {
        let word = "hunter2";
        for (good, bad) in [
            (r#""1""#, format!("{word:?}")),
            ("\"Allow\"", format!("{word:?}")),
            ("[\"*\"]", format!("{{{word:?}: 1}}")),
            ("acs:ram::1192853035118460:role/app", word.to_owned()),
            ("kms:GetSecretValue", word.to_owned()),
            ("{ \"kmsfs:Cgroup\": \"/a/*\" }", format!("{word:?}")),
            (GOOD, format!("{word:?}")),
            (GOOD, word.to_owned()),
            ("Sid", word.repeat(10)),
        ] {
            let said = why(&GOOD.replacen(good, &bad, 1));
            assert!(!said.contains(word), "{said}");
        }
        let escape = why(&GOOD.replacen("Sid", "\\u001b[2J", 1));
        assert!(escape.contains("`\\u{1b}[2J`"), "{escape}");
    }

    #[test]
    fn one_may_stand_in_the_place_of_a_list() {
        let listed = read(GOOD).unwrap();
        let single = GOOD.replace(['[', ']'], "");
        let single = single.replace("\"Statement\": ", "\"Statement\": [").replace("\n  \n}", "]}");
        assert_eq!(read(&single).unwrap(), listed);
        let sid = |sid: &str| read(&GOOD.replace("one", sid)).map(|statements| statements[0].sid.clone());
        assert_eq!(sid(&"ä".repeat(128)).unwrap().as_deref(), Some(&*"ä".repeat(128)));
        assert!(sid(&"ä".repeat(129)).is_err());
        assert_eq!(read(&GOOD.replace("\"Sid\": \"one\",", "")).unwrap()[0].sid, None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(from in 0..GOOD.len(), cut in 0usize..40, bytes in "[ -~]{0,9}|\\PC{0,9}") {
            let end = (from + cut).min(GOOD.len());
            let text = format!("{}{bytes}{}", &GOOD[..from], &GOOD[end..]);
            match Policy::parse(text.as_bytes()) {
                Ok(policy) => prop_assert_eq!(policy.map(|policy| policy.text().to_owned()), Some(text)),
                Err(Refusal::BadPolicy { why }) => prop_assert!(why.starts_with("line ") && !why.starts_with("line 0")),
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
