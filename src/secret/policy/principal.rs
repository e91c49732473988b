//! Whom a statement names, and whether a caller is among them.

use serde::de::Error;

use super::Account;
use super::judge::Subject;
use super::shape::Shape;

/// What every principal begins with.
const PREFIX: &str = "acs:ram::";
/// Longest name of a user or a group in bytes: what shadow(5) takes at most.
const NAME_MAX: usize = 256;
/// Principals that are looked for in a list of names one by one: for more of them it pays to sort the list.
const FEW: usize = 16;

/// One identity of an account, or some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Principal {
    pub(super) account: Account,
    who: Who,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Root,
    Everybody,
    User(Name),
    Role(Name),
}

/// A name, or all that begin with it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    text: Box<str>,
    open: bool,
}

impl Principal {
    fn parse(text: &str) -> Option<Self> {
        let (account, who) = text.strip_prefix(PREFIX)?.split_once(':')?;
        let who = match who {
            "root" => Who::Root,
            "*" => Who::Everybody,
            named => match named.split_once('/')? {
                ("user", name) => Who::User(Name::parse(name)?),
                ("role", name) => Who::Role(Name::parse(name)?),
                _ => return None,
            },
        };
        Some(Self { account: Account::parse(account)?, who })
    }

    /// Whether it names every identity of its account.
    pub(super) fn is_everybody(&self) -> bool {
        self.who == Who::Everybody
    }
}

impl Name {
    /// A number is of a user or a group as it is, so it is written as numbers are: `007` would be nobody.
    fn parse(text: &str) -> Option<Self> {
        let (text, open) = text.strip_suffix('*').map_or((text, false), |begin| (begin, true));
        let is_name_byte = |byte: u8| byte.is_ascii_graphic() && !b"*?/:".contains(&byte);
        let is_number = !open && text.bytes().all(|byte| byte.is_ascii_digit());
        let good = text.len() <= NAME_MAX
            && (open || !text.is_empty())
            && text.bytes().all(is_name_byte)
            && (!is_number || text.parse::<u32>().is_ok_and(|number| number.to_string() == text));
        good.then(|| Self { text: text.into(), open })
    }
}

/// One principal of a statement.
#[derive(Clone, Copy)]
pub(super) struct PrincipalText;

impl Shape<'_> for PrincipalText {
    type Value = Principal;

    fn is(&self) -> String {
        "a principal is `acs:ram::<16 digits>:` and `root`, `*`, `user/<name or uid>` or `role/<name or gid>`; a name may end in `*`"
            .to_owned()
    }

    fn text<E: Error>(self, text: &str) -> Result<Principal, E> {
        Principal::parse(text).ok_or_else(|| E::custom(self.is()))
    }
}

/// A caller, of whom many principals are asked.
pub(super) struct Caller<'a> {
    subject: &'a Subject<'a>,
    users: Names<'a>,
    roles: Names<'a>,
}

impl<'a> Caller<'a> {
    /// `principals` is how many of them will be asked at most.
    pub(super) fn new(subject: &'a Subject<'a>, principals: usize) -> Self {
        let names = |list| Names::new(list, principals);
        Self { subject, users: names(subject.users), roles: names(subject.roles) }
    }

    pub(super) fn is(&self, principal: &Principal) -> bool {
        principal.account == *self.subject.account
            && match &principal.who {
                Who::Root => self.subject.is_root,
                Who::Everybody => true,
                Who::User(name) => self.users.have(name),
                Who::Role(name) => self.roles.have(name),
            }
    }
}

/// The names of a caller. Groups can be tens of thousands, and principals a thousand: looked for one by one among each other
/// they would hold everybody up.
enum Names<'a> {
    AsGiven(&'a [String]),
    InOrder(Vec<&'a str>),
}

impl<'a> Names<'a> {
    fn new(list: &'a [String], lookups: usize) -> Self {
        if lookups <= FEW || list.len() <= FEW {
            return Names::AsGiven(list);
        }
        let mut sorted: Vec<_> = list.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        Names::InOrder(sorted)
    }

    fn have(&self, name: &Name) -> bool {
        let is = |text: &str| if name.open { text.starts_with(&*name.text) } else { text == &*name.text };
        match self {
            Names::AsGiven(list) => list.iter().any(|text| is(text)),
            // What begins with a text stands right behind all that is less than the text.
            Names::InOrder(list) => {
                list.get(list.partition_point(|text| *text < &*name.text)).is_some_and(|text| is(text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "1192853035118460";

    #[test]
    fn principals_are_written_in_four_ways() {
        for (rest, good) in [
            (":root", true),
            (":*", true),
            (":user/alice", true),
            (":user/a*", true),
            (":user/*", true),
            (":role/app_1.x-y$", true),
            (":role/0", true),
            (":role/4294967295", true),
            (":role/4294967296", false),
            (":role/007", false),
            (":role/00*", true),
            (":user/", false),
            (":user/a*b", false),
            (":user/**", false),
            (":user/a?", false),
            (":user/a b", false),
            (":user/a/b", false),
            (":user/ä", false),
            (":user", false),
            (":group/a", false),
            (":Root", false),
            (":", false),
            ("", false),
            ("0:root", false),
        ] {
            let text = format!("acs:ram::{ACCOUNT}{rest}");
            assert_eq!(Principal::parse(&text).is_some(), good, "{text}");
        }
        for bad in ["*", "acs:ram::*:root", "acs:ram::119285303511846:root", "ACS:ram::1192853035118460:root", ""] {
            assert_eq!(Principal::parse(bad), None, "{bad}");
        }
        let name = |len: usize| format!("acs:ram::{ACCOUNT}:user/{}", "n".repeat(len));
        assert!(Principal::parse(&name(256)).is_some() && Principal::parse(&name(257)).is_none());
    }

    /// (principal, whether it is alice of group app, whether it is root)
    #[test]
    fn a_caller_is_known_by_each_name() {
        let account = Account::parse(ACCOUNT).unwrap();
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (users, mut roles) = (list(&["alice", "1000"]), list(&["app", "50"]));
        let nobody = Subject { account: &account, is_home: true, is_root: true, uid: 0, users: &[], roles: &[] };
        for many in [false, true] {
            if many {
                roles.extend((0..100).map(|n| format!("group{n}")));
            }
            let alice = Subject { is_root: false, uid: 1000, users: &users, roles: &roles, ..nobody };
            let (alice, root) = (Caller::new(&alice, 100), Caller::new(&nobody, 100));
            for (principal, is_alice, is_root) in [
                ("root", false, true),
                ("*", true, true),
                ("user/alice", true, false),
                ("user/1000", true, false),
                ("user/Alice", false, false),
                ("user/app", false, false),
                ("user/al*", true, false),
                ("user/alicex*", false, false),
                ("user/*", true, false),
                ("role/app", true, false),
                ("role/ap", false, false),
                ("role/ap*", true, false),
                ("role/50", true, false),
                ("role/5*", true, false),
                ("role/alice", false, false),
                ("role/*", true, false),
                ("role/group99", many, false),
                ("role/group9*", many, false),
                ("role/group100", false, false),
                ("role/zz*", false, false),
            ] {
                let principal = Principal::parse(&format!("acs:ram::{ACCOUNT}:{principal}")).unwrap();
                assert_eq!((alice.is(&principal), root.is(&principal)), (is_alice, is_root), "{principal:?}");
                let other = Principal { account: Account::from_number(1), ..principal };
                assert!(!alice.is(&other) && !root.is(&other), "{other:?}");
            }
        }
    }
}
