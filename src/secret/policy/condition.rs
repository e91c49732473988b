//! Conditions of a statement: what must hold besides for it to apply.
//!
//! A condition holds, does not, or cannot be told, which is `None` here: then whoever weighs it decides against the caller.

use serde::de::{Error as _, MapAccess};

use super::judge::Circumstances;
use super::pattern::{Pattern, Text};
use super::shape::{OneOf, OneOrMore, Read, Shape, twice};
use super::values::{Cgroup, CgroupPattern, Date, Flag, Uid};
use crate::time::Timestamp;

/// One key under one operator, with its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    /// Whether none of the values may fit, where else one must.
    negated: bool,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Time(Order, Vec<Timestamp>),
    Uid(Order, Vec<u32>),
    Cgroup(Vec<Box<str>>),
    CgroupInAnyCase(Vec<Box<str>>),
    CgroupLike(Vec<Pattern>),
    Secure(Vec<bool>),
}

/// How what there is stands to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equals,
    Less,
    LessOrEquals,
    Greater,
    GreaterOrEquals,
}

impl Order {
    fn holds<T: Ord>(self, there: &T, value: &T) -> bool {
        match self {
            Order::Equals => there == value,
            Order::Less => there < value,
            Order::LessOrEquals => there <= value,
            Order::Greater => there > value,
            Order::GreaterOrEquals => there >= value,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    CurrentTime,
    Cgroup,
    Uid,
    SecureTransport,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Date(Order),
    Text,
    TextInAnyCase,
    TextLike,
    Number(Order),
    Flag,
}

/// An operator: whether it is a `Not`, and what it compares.
type Operator = (bool, Kind);

const KEYS: [(&str, Key); 4] = [
    ("acs:CurrentTime", Key::CurrentTime),
    ("kmsfs:Cgroup", Key::Cgroup),
    ("kmsfs:Uid", Key::Uid),
    ("acs:SecureTransport", Key::SecureTransport),
];

const OPERATORS: [(&str, Operator); 19] = [
    ("DateEquals", (false, Kind::Date(Order::Equals))),
    ("DateNotEquals", (true, Kind::Date(Order::Equals))),
    ("DateLessThan", (false, Kind::Date(Order::Less))),
    ("DateLessThanEquals", (false, Kind::Date(Order::LessOrEquals))),
    ("DateGreaterThan", (false, Kind::Date(Order::Greater))),
    ("DateGreaterThanEquals", (false, Kind::Date(Order::GreaterOrEquals))),
    ("StringEquals", (false, Kind::Text)),
    ("StringNotEquals", (true, Kind::Text)),
    ("StringEqualsIgnoreCase", (false, Kind::TextInAnyCase)),
    ("StringNotEqualsIgnoreCase", (true, Kind::TextInAnyCase)),
    ("StringLike", (false, Kind::TextLike)),
    ("StringNotLike", (true, Kind::TextLike)),
    ("NumericEquals", (false, Kind::Number(Order::Equals))),
    ("NumericNotEquals", (true, Kind::Number(Order::Equals))),
    ("NumericLessThan", (false, Kind::Number(Order::Less))),
    ("NumericLessThanEquals", (false, Kind::Number(Order::LessOrEquals))),
    ("NumericGreaterThan", (false, Kind::Number(Order::Greater))),
    ("NumericGreaterThanEquals", (false, Kind::Number(Order::GreaterOrEquals))),
    ("Bool", (false, Kind::Flag)),
];

/// What conditions ask about, for one decision.
pub(super) struct Scene<'a> {
    uid: u32,
    /// To the second, as values are.
    now: Timestamp,
    cgroup: Option<Text<'a>>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(uid: u32, at: &Circumstances<'a>) -> Self {
        Self { uid, now: at.now.to_the_second(), cgroup: at.cgroup.and_then(Text::new) }
    }
}

impl Condition {
    /// Whether it holds; `None` where that cannot be told.
    pub(super) fn holds(&self, scene: &Scene<'_>) -> Option<bool> {
        let fits = match &self.test {
            Test::Time(order, values) => values.iter().any(|value| order.holds(&scene.now, value)),
            Test::Uid(order, values) => values.iter().any(|value| order.holds(&scene.uid, value)),
            Test::Cgroup(values) => {
                let cgroup = scene.cgroup.as_ref()?.as_str();
                values.iter().any(|value| **value == *cgroup)
            }
            Test::CgroupInAnyCase(values) => {
                let cgroup = scene.cgroup.as_ref()?.as_str();
                values.iter().any(|value| value.eq_ignore_ascii_case(cgroup))
            }
            Test::CgroupLike(patterns) => {
                let cgroup = scene.cgroup.as_ref()?;
                patterns.iter().any(|pattern| pattern.fits(cgroup))
            }
            // Requests come from this machine alone.
            Test::Secure(values) => values.contains(&true),
        };
        Some(fits != self.negated)
    }

    /// Whether all of `conditions` hold. One that does not hold settles it, also beside one that cannot be told.
    pub(super) fn all_hold(conditions: &[Condition], scene: &Scene<'_>) -> Option<bool> {
        let mut all = Some(true);
        for condition in conditions {
            match condition.holds(scene) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => all = None,
            }
        }
        all
    }

    pub(super) fn asks_time(&self) -> bool {
        matches!(self.test, Test::Time(..))
    }

    pub(super) fn asks_cgroup(&self) -> bool {
        matches!(self.test, Test::Cgroup(_) | Test::CgroupInAnyCase(_) | Test::CgroupLike(_))
    }
}

/// The member `Condition`.
pub(super) struct Conditions;

impl<'de> Shape<'de> for Conditions {
    type Value = Vec<Condition>;

    fn is(&self) -> String {
        "Condition is an object of operators, at least one of them".to_owned()
    }

    fn members<A: MapAccess<'de>>(self, mut members: A) -> Result<Vec<Condition>, A::Error> {
        let (mut seen, mut conditions) = (Vec::new(), Vec::new());
        while let Some((name, operator)) =
            members.next_key_seed(Read(OneOf { what: "operator of a condition", table: &OPERATORS }))?
        {
            if seen.contains(&name) {
                return Err(twice(name));
            }
            seen.push(name);
            conditions.extend(members.next_value_seed(Read(Compared { name, operator }))?);
        }
        if conditions.is_empty() { Err(A::Error::custom(self.is())) } else { Ok(conditions) }
    }
}

/// The keys under one operator.
struct Compared {
    name: &'static str,
    operator: Operator,
}

impl<'de> Shape<'de> for Compared {
    type Value = Vec<Condition>;

    fn is(&self) -> String {
        format!("{} is an object of keys, at least one of them", self.name)
    }

    fn members<A: MapAccess<'de>>(self, mut members: A) -> Result<Vec<Condition>, A::Error> {
        let (mut seen, mut conditions) = (Vec::new(), Vec::new());
        let (negated, kind) = self.operator;
        while let Some((name, key)) = members.next_key_seed(Read(OneOf { what: "key of a condition", table: &KEYS }))? {
            if seen.contains(&name) {
                return Err(twice(name));
            }
            seen.push(name);
            let test = match (key, kind) {
                (Key::CurrentTime, Kind::Date(order)) => Test::Time(order, values(&mut members, Date)?),
                (Key::Uid, Kind::Number(order)) => Test::Uid(order, values(&mut members, Uid)?),
                (Key::Cgroup, Kind::Text) => Test::Cgroup(values(&mut members, Cgroup)?),
                (Key::Cgroup, Kind::TextInAnyCase) => Test::CgroupInAnyCase(values(&mut members, Cgroup)?),
                (Key::Cgroup, Kind::TextLike) => Test::CgroupLike(values(&mut members, CgroupPattern)?),
                (Key::SecureTransport, Kind::Flag) => Test::Secure(values(&mut members, Flag)?),
                (Key::CurrentTime | Key::Uid | Key::Cgroup | Key::SecureTransport, _) => {
                    return Err(A::Error::custom(misfit(name, self.name)));
                }
            };
            conditions.push(Condition { negated, test });
        }
        if conditions.is_empty() { Err(A::Error::custom(self.is())) } else { Ok(conditions) }
    }
}

fn values<'de, A: MapAccess<'de>, S: Shape<'de> + Copy>(members: &mut A, shape: S) -> Result<Vec<S::Value>, A::Error> {
    members.next_value_seed(Read(OneOrMore(shape)))
}

fn misfit(key: &str, operator: &str) -> String {
    format!(
        "`{key}` does not go with {operator}: acs:CurrentTime goes with Date operators, kmsfs:Cgroup with String, kmsfs:Uid with \
         Numeric, acs:SecureTransport with Bool"
    )
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeSeed;

    use super::*;

    fn read(json: &str) -> Result<Vec<Condition>, serde_json::Error> {
        Read(Conditions).deserialize(&mut serde_json::Deserializer::from_str(json))
    }

    /// 2027-01-01T00:00:00Z, and half a second.
    const NEW_YEAR: Timestamp = Timestamp(1_798_761_600_500_000_000);

    fn holds(json: &str, cgroup: Option<&str>) -> Option<bool> {
        let scene = Scene::new(1000, &Circumstances { now: NEW_YEAR, cgroup });
        Condition::all_hold(&read(json).unwrap(), &scene)
    }

    #[test]
    fn each_operator_is_what_it_says() {
        // Of an operator and its value at new year, of uid 1000, in /a/b; `Not` is the contrary.
        for (operator, key, value, expected) in [
            ("DateEquals", "acs:CurrentTime", "2027-01-01T00:00:00Z", true),
            ("DateEquals", "acs:CurrentTime", "2027-01-01T08:00:00+08:00", true),
            ("DateEquals", "acs:CurrentTime", "2026-12-31T20:30:00-03:30", true),
            ("DateEquals", "acs:CurrentTime", "2027-01-01T00:00:00+08:00", false),
            ("DateNotEquals", "acs:CurrentTime", "2027-01-01T00:00:00Z", false),
            ("DateLessThan", "acs:CurrentTime", "2027-01-01T00:00:00Z", false),
            ("DateLessThan", "acs:CurrentTime", "2027-01-01T00:00:01Z", true),
            ("DateLessThan", "acs:CurrentTime", "9999-12-31T23:59:59Z", true),
            ("DateLessThanEquals", "acs:CurrentTime", "2027-01-01T00:00:00Z", true),
            ("DateLessThanEquals", "acs:CurrentTime", "2026-12-31T23:59:59Z", false),
            ("DateGreaterThan", "acs:CurrentTime", "2027-01-01T00:00:00Z", false),
            ("DateGreaterThan", "acs:CurrentTime", "2026-12-31T23:59:59Z", true),
            ("DateGreaterThanEquals", "acs:CurrentTime", "2027-01-01T00:00:00Z", true),
            ("DateGreaterThanEquals", "acs:CurrentTime", "2027-01-01T00:00:01Z", false),
            ("NumericEquals", "kmsfs:Uid", "1000", true),
            ("NumericEquals", "kmsfs:Uid", "01000", true),
            ("NumericNotEquals", "kmsfs:Uid", "1000", false),
            ("NumericLessThan", "kmsfs:Uid", "1000", false),
            ("NumericLessThan", "kmsfs:Uid", "1001", true),
            ("NumericLessThanEquals", "kmsfs:Uid", "1000", true),
            ("NumericGreaterThan", "kmsfs:Uid", "999", true),
            ("NumericGreaterThan", "kmsfs:Uid", "1000", false),
            ("NumericGreaterThanEquals", "kmsfs:Uid", "1000", true),
            ("StringEquals", "kmsfs:Cgroup", "/a/b", true),
            ("StringEquals", "kmsfs:Cgroup", "/a/*", false),
            ("StringEquals", "kmsfs:Cgroup", "/A/b", false),
            ("StringNotEquals", "kmsfs:Cgroup", "/a/b", false),
            ("StringEqualsIgnoreCase", "kmsfs:Cgroup", "/A/b", true),
            ("StringNotEqualsIgnoreCase", "kmsfs:Cgroup", "/A/B", false),
            ("StringLike", "kmsfs:Cgroup", "/a/*", true),
            ("StringLike", "kmsfs:Cgroup", "/?/b", true),
            ("StringLike", "kmsfs:Cgroup", "/a", false),
            ("StringNotLike", "kmsfs:Cgroup", "/a/*", false),
            ("StringNotLike", "kmsfs:Cgroup", "/b/*", true),
            ("Bool", "acs:SecureTransport", "true", true),
            ("Bool", "acs:SecureTransport", "false", false),
        ] {
            let json = format!(r#"{{"{operator}": {{"{key}": "{value}"}}}}"#);
            assert_eq!(holds(&json, Some("/a/b")), Some(expected), "{json}");
            let listed = format!(r#"{{"{operator}": {{"{key}": ["{value}"]}}}}"#);
            assert_eq!(holds(&listed, Some("/a/b")), Some(expected), "{listed}");
        }
    }

    #[test]
    fn of_values_one_must_and_with_not_none_may() {
        for (json, expected) in [
            (r#"{"NumericEquals": {"kmsfs:Uid": [1, 1000]}}"#, true),
            (r#"{"NumericEquals": {"kmsfs:Uid": [1, "2"]}}"#, false),
            (r#"{"NumericNotEquals": {"kmsfs:Uid": [1, 1000]}}"#, false),
            (r#"{"NumericNotEquals": {"kmsfs:Uid": [1, 2]}}"#, true),
            (r#"{"StringNotLike": {"kmsfs:Cgroup": ["/x", "/a*"]}}"#, false),
            (r#"{"Bool": {"acs:SecureTransport": [false, true]}}"#, true),
            (r#"{"Bool": {"acs:SecureTransport": true}, "NumericEquals": {"kmsfs:Uid": 1}}"#, false),
            (r#"{"Bool": {"acs:SecureTransport": true}, "NumericEquals": {"kmsfs:Uid": 1000}}"#, true),
        ] {
            assert_eq!(holds(json, Some("/a/b")), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_neither() {
        for operator in ["StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringNotEqualsIgnoreCase"]
        {
            let alone = format!(r#"{{"{operator}": {{"kmsfs:Cgroup": "*"}}}}"#);
            assert_eq!(holds(&alone, None), None, "{operator}");
            assert_eq!(holds(&alone, Some(&"a".repeat(513))), None, "{operator}");
            assert!(holds(&alone, Some(&"a".repeat(512))).is_some(), "{operator}");
            for (other, expected) in [("1000", None), ("1", Some(false))] {
                let both =
                    format!(r#"{{"{operator}": {{"kmsfs:Cgroup": "*"}}, "NumericEquals": {{"kmsfs:Uid": {other}}}}}"#);
                assert_eq!(holds(&both, None), expected, "{both}");
            }
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (json, why) in [
            ("{}", "at least one"),
            (r#"{"StringLike": {}}"#, "at least one"),
            (r#"{"StringLike": []}"#, "StringLike is an object of keys"),
            (r#"{"StringLike": {"kmsfs:Cgroup": []}}"#, "the list is empty"),
            (r#"{"StringLike": {"kmsfs:Cgroup": [[]]}}"#, "a cgroup is text"),
            (r#"{"StringLike": {"kmsfs:Cgroup": 7}}"#, "a cgroup is text"),
            (r#"{"StringLike": {"acs:CurrentTime": "x"}}"#, "does not go with StringLike"),
            (r#"{"StringLike": {"acs:SourceIp": "x"}}"#, "`acs:SourceIp` is no key of a condition: there is acs:Cur"),
            (r#"{"IpAddress": {"acs:SourceIp": "x"}}"#, "`IpAddress` is no operator of a condition: there is DateEq"),
            (
                r#"{"StringLike": {"kmsfs:Cgroup": "a", "kmsfs:Cgroup": "b"}}"#,
                "`kmsfs:Cgroup` stands here for the second",
            ),
            (r#"{"Bool": {"acs:SecureTransport": true}, "Bool": {}}"#, "`Bool` stands here for the second"),
            (r#"{"Bool": {"acs:SecureTransport": "yes"}}"#, "is true or false"),
            (r#"{"Bool": {"acs:SecureTransport": null}}"#, "is true or false"),
            (r#"{"NumericEquals": {"kmsfs:Uid": -1}}"#, "a uid is a number"),
            (r#"{"NumericEquals": {"kmsfs:Uid": 1.5}}"#, "a uid is a number"),
            (r#"{"NumericEquals": {"kmsfs:Uid": "+1"}}"#, "a uid is a number"),
            (r#"{"NumericEquals": {"kmsfs:Uid": "4294967296"}}"#, "a uid is a number"),
            (r#"{"NumericEquals": {"kmsfs:Uid": 4294967296}}"#, "a uid is a number"),
            (r#"{"DateEquals": {"acs:CurrentTime": "2027-01-01"}}"#, "a time is text"),
            (r#"{"DateEquals": {"acs:CurrentTime": 1798761600}}"#, "a time is text"),
        ] {
            let said = read(json).unwrap_err().to_string();
            assert!(said.contains(why), "{json}: {said}");
        }
    }
}
