//! One decision as one line of JSON, its members always in the same order. Behind `version` stands `member` where one member of a
//! Key/Value secret is meant.
//!
//! ```text
//! {"seq":7,"time":"2024-02-21T15:39:26.000000001Z","boot":81234567890,"op":"<32 hex>","action":"GetSecretValue",
//!  "gesture":"read","outcome":"granted","code":null,"reason":"mode","uid":1000,"gid":1000,"tgid":71,"tid":71,"comm":"cat",
//!  "exe":{"path":"/usr/bin/cat","dev":65025,"ino":131},"cgroup":"/user.slice","principal":"acs:ram::<account>:user/1000",
//!  "instance":"prod","secret":"db/password","version":"v1","mac":"<64 hex>"}
//! ```
//!
//! Invariants: a line is printable ASCII and has no line within it, whatever bytes a caller brought; two different strings of
//! bytes never look alike in it; no value is in it, nor its length, nor anything made of it.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::facts::Facts;
use crate::id::OpId;
use crate::secret::{Account, Action};
use crate::time::Timestamp;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was let, and is done or about to be.
    Granted,
    /// A rule said no.
    Denied,
    /// It was let, and something broke.
    Failed,
}

impl Outcome {
    /// As the record has it.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Granted => "granted",
            Outcome::Denied => "denied",
            Outcome::Failed => "failed",
        }
    }
}

/// What a request is about, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The instance's name.
    pub instance: Option<String>,
    /// The secret's full name; `.keys/<name>` for a key.
    pub secret: Option<String>,
    /// The version's id.
    pub version: Option<String>,
    /// The one member of it, where that alone is meant.
    pub member: Option<String>,
}

/// One decision, or something that happened to the daemon itself.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The request.
    pub op: OpId,
    /// What was asked for; `None` where KMS and this program have no name for it.
    pub action: Option<Action>,
    /// By which gesture of the surface: `read`, `close`, `mkdir`, `api`.
    pub gesture: &'a str,
    /// What became of it.
    pub outcome: Outcome,
    /// The KMS code of a refusal, or an errno's name.
    pub code: Option<&'a str>,
    /// The rule that decided, or what broke.
    pub reason: Cow<'a, str>,
    /// The caller's account, where that is not the store's.
    pub account: Option<Account>,
    /// Whose rights the caller has.
    pub uid: u32,
    /// The caller's group.
    pub gid: u32,
    /// The calling thread; 0 where there is none.
    pub tid: u32,
    /// What is known of it.
    pub facts: Option<&'a Facts>,
    /// What it is about.
    pub target: &'a Target,
}

/// A record but for what its place in the chain gives it: number, time and mac.
#[derive(Debug, Clone)]
pub struct Body(pub(super) String);

/// Where a record comes to stand.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Its number, from 1.
    pub seq: u64,
    /// The wall clock's time.
    pub time: Timestamp,
    /// Nanoseconds since the machine was started, sleep included.
    pub boot: u64,
}

impl Entry<'_> {
    /// Renders it; `principal` is the caller's name in KMS.
    pub fn body(&self, principal: &str) -> Body {
        let mut line = String::with_capacity(512);
        line.push_str(",\"op\":\"");
        hex(&mut line, &self.op.0);
        line.push_str("\",\"action\":");
        option(&mut line, self.action.map(Action::name));
        line.push_str(",\"gesture\":");
        text(&mut line, self.gesture.as_bytes());
        line.push_str(",\"outcome\":\"");
        line.push_str(self.outcome.word());
        line.push_str("\",\"code\":");
        option(&mut line, self.code);
        line.push_str(",\"reason\":");
        text(&mut line, self.reason.as_bytes());
        let _ = write!(line, ",\"uid\":{},\"gid\":{}", self.uid, self.gid);
        match self.facts {
            Some(facts) => {
                let _ = write!(line, ",\"tgid\":{},\"tid\":{},", facts.tgid, self.tid);
                line.push_str(facts.rendered());
            }
            None => {
                let _ = write!(line, ",\"tgid\":null,\"tid\":{},\"comm\":null,\"exe\":null,\"cgroup\":null", self.tid);
            }
        }
        line.push_str(",\"principal\":");
        text(&mut line, principal.as_bytes());
        for (member, value) in
            [("instance", &self.target.instance), ("secret", &self.target.secret), ("version", &self.target.version)]
        {
            let _ = write!(line, ",\"{member}\":");
            option(&mut line, value.as_deref());
        }
        if let Some(member) = &self.target.member {
            line.push_str(",\"member\":");
            text(&mut line, member.as_bytes());
        }
        Body(line)
    }
}

impl Body {
    /// The whole line but for its mac and its end. With `prev`, it is the first of its segment, and names the mac before it.
    pub(super) fn line(&self, at: Moment, prev: Option<&[u8; 32]>) -> String {
        let mut line = String::with_capacity(self.0.len() + 256);
        let time = humantime::format_rfc3339_nanos(at.time.to_system());
        let _ = write!(line, "{{\"seq\":{},\"time\":\"{time}\",\"boot\":{}", at.seq, at.boot);
        line.push_str(&self.0);
        if let Some(prev) = prev {
            line.push_str(",\"prev\":\"");
            hex(&mut line, prev);
            line.push('"');
        }
        line.push('}');
        line
    }

    /// The line for who keeps no chain, with its number there if it has one.
    pub(super) fn unchained(&self, seq: Option<u64>, time: Timestamp, boot: u64) -> String {
        let time = humantime::format_rfc3339_nanos(time.to_system());
        let seq = seq.map_or_else(|| "null".to_owned(), |seq| seq.to_string());
        format!("{{\"seq\":{seq},\"time\":\"{time}\",\"boot\":{boot}{}}}", self.0)
    }

    /// The longest line that becomes of it.
    pub(super) fn line_max(&self) -> u64 {
        // Number, time and boot; `prev` and `mac` with their 64 digits each.
        const AROUND: u64 = 320;
        self.0.len() as u64 + AROUND
    }
}

/// What stands between a line and its mac.
const MAC_MEMBER: &str = ",\"mac\":\"";
/// Hexadecimal digits of a mac.
const MAC_DIGITS: usize = 64;

/// `line` with its mac, and the newline behind it.
pub(super) fn with_mac(mut line: String, mac: &[u8; 32]) -> String {
    line.pop();
    line.push_str(MAC_MEMBER);
    hex(&mut line, mac);
    line.push_str("\"}\n");
    line
}

/// A line without its newline taken apart: what the mac is of, and the mac. `None` for what is no such line.
pub(super) fn without_mac(line: &[u8]) -> Option<(Vec<u8>, [u8; 32])> {
    let rest = line.strip_suffix(b"\"}")?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(MAC_DIGITS)?)?;
    let body = rest.strip_suffix(MAC_MEMBER.as_bytes())?;
    let mut bytes = body.to_vec();
    bytes.push(b'}');
    Some((bytes, unhex(digits)?))
}

/// The bytes that `digits` stand for, lower case only: one mac is written in one way.
pub(super) fn unhex(digits: &[u8]) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn hex(line: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        line.push(char::from(DIGITS[usize::from(byte >> 4)]));
        line.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

fn option(line: &mut String, value: Option<&str>) {
    match value {
        Some(value) => text(line, value.as_bytes()),
        None => line.push_str("null"),
    }
}

/// A JSON string of any bytes, in printable ASCII. A backslash counts as two, and a byte that is no UTF-8 as `\xNN`, before JSON's
/// own escapes: so what was no text is told from a text that looks like it.
pub(super) fn text(line: &mut String, bytes: &[u8]) {
    line.push('"');
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => line.push_str("\\\""),
                '\\' => line.push_str("\\\\\\\\"),
                ' '..='~' => line.push(char),
                _ => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        let _ = write!(line, "\\u{unit:04x}");
                    }
                }
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(line, "\\\\x{byte:02x}");
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rendered(bytes: &[u8]) -> String {
        let mut line = String::new();
        text(&mut line, bytes);
        line
    }

    #[test]
    fn any_bytes_are_printable_and_tell_what_they_were() {
        for (bytes, expected) in [
            (&b"cat"[..], r#""cat""#),
            (b"a\"b\nc\x1b[2J", r#""a\"b\u000ac\u001b[2J""#),
            (b"\\", r#""\\\\""#),
            (b"\xff", r#""\\xff""#),
            (b"\\xff", r#""\\\\xff""#),
            ("é\u{2028}\u{202e}\u{1f511}".as_bytes(), r#""\u00e9\u2028\u202e\ud83d\udd11""#),
            (b"", r#""""#),
        ] {
            assert_eq!(rendered(bytes), expected);
        }
    }

    #[test]
    fn a_mac_is_taken_off_as_it_was_put_on() {
        let line = "{\"seq\":1}".to_owned();
        let mac = [0xab; 32];
        let whole = with_mac(line.clone(), &mac);
        assert_eq!(without_mac(whole.trim_end().as_bytes()), Some((line.into_bytes(), mac)));
        for wrong in ["", "{}", "\"}", &whole.trim_end().replace("ab", "AB"), &whole.trim_end()[1..]] {
            assert!(wrong.starts_with('"') || without_mac(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_two_strings_of_bytes_look_alike(
            one in proptest::collection::vec(any::<u8>(), 0..20),
            other in proptest::collection::vec(prop_oneof![Just(b'\\'), Just(b'x'), Just(b'f'), Just(0xff)], 0..8),
            third in proptest::collection::vec(prop_oneof![Just(b'\\'), Just(b'x'), Just(b'f'), Just(0xff)], 0..8),
        ) {
            let (a, b, c) = (rendered(&one), rendered(&other), rendered(&third));
            prop_assert!(a.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert!(serde_json::from_str::<String>(&a).is_ok());
            prop_assert_eq!(b == c, other == third);
            prop_assert_eq!(a == b, one == other);
        }

        #[test]
        fn a_hostile_record_is_one_line_of_json(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            name in ".{0,20}",
        ) {
            let exe = Exe { path: bytes.clone(), dev: u64::MAX, ino: 1 };
            let facts = Facts::new(1, 2, &bytes, Some(exe), &bytes);
            let target =
                Target { instance: Some(name.clone()), version: Some(name.clone()), member: Some(name.clone()), secret: None };
            let entry = Entry {
                op: OpId([1; 16]),
                action: Some(Action::GetSecretValue),
                gesture: "read",
                outcome: Outcome::Denied,
                code: Some(&name),
                reason: name.as_str().into(),
                account: None,
                uid: 0,
                gid: 0,
                tid: 1,
                facts: Some(&facts),
                target: &target,
            };
            let at = Moment { seq: 1, time: Timestamp(1), boot: 2 };
            let line = with_mac(entry.body("p").line(at, Some(&[7; 32])), &[9; 32]);
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert!(line.trim_end_matches('\n').bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let json: serde_json::Value = serde_json::from_str(&line).unwrap();
            let members: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
            prop_assert_eq!(members, [
                "seq", "time", "boot", "op", "action", "gesture", "outcome", "code", "reason", "uid", "gid", "tgid", "tid",
                "comm", "exe", "cgroup", "principal", "instance", "secret", "version", "member", "prev", "mac",
            ]);
        }
    }

    use super::super::facts::Exe;
}
