//! `random`: what its passwords are made of.

use crate::call::Function;
use crate::secret::Values;

/// Enough of them that a character in the wrong place would be seen.
const DRAWS: usize = 5;

/// Whether a character belongs to an alphabet.
type IsOfIt<'a> = &'a dyn Fn(char) -> bool;

#[test]
fn passwords_are_of_their_alphabet() {
    let safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let hex = |c: char| "0123456789abcdef".contains(c);
    // (alphabet, length, what each character is, whether it begins with a letter and has each kind)
    let cases: [(&str, usize, IsOfIt<'_>, bool); 6] = [
        ("safe", 32, &safe, true),
        ("safe", 8, &safe, true),
        ("alphanumeric", 128, &|c| c.is_ascii_alphanumeric(), true),
        ("hex", 64, &hex, false),
        ("digits", 128, &|c| c.is_ascii_digit(), false),
        ("printable", 128, &|c| c.is_ascii_graphic(), false),
    ];
    for (alphabet, length, is_of_it, mixed) in cases {
        let function = Function::shipped("random").with("ALPHABET", alphabet).with("LENGTH", length.to_string());
        let mut passwords = Vec::new();
        for _ in 0..DRAWS {
            let password = function.done("create", &Values::default());
            assert_eq!(password.len(), length, "{alphabet}: {password:?}");
            assert!(password.chars().all(is_of_it), "{alphabet}: {password:?}");
            let has = |kind: fn(&char) -> bool| password.chars().any(|c| kind(&c));
            let kinds = has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase) && has(char::is_ascii_digit);
            assert!(!mixed || kinds && password.starts_with(|c: char| c.is_ascii_alphabetic()), "{password:?}");
            passwords.push(password);
        }
        passwords.sort();
        passwords.dedup();
        assert_eq!(passwords.len(), DRAWS, "{alphabet}: each is another");
    }
}

#[test]
fn a_member_is_replaced_and_the_others_are_kept() {
    let function = Function::shipped("random-member");
    let mut values = Values::of(r#"{"z":"first","password":"a'\"\\$(id)\n","a":"last"}"#);
    values.create(&function);
    let new = Values::member(&values.new, "password");
    assert_eq!(new.len(), 32);
    assert_eq!(String::from_utf8_lossy(&values.new), format!(r#"{{"z":"first","password":"{new}","a":"last"}}"#));
    for step in ["set", "test", "finish"] {
        assert_eq!(function.done(step, &values), "");
    }
}

#[test]
fn what_is_configured_wrongly_is_not_tried_again() {
    for (name, value) in [("LENGTH", "7"), ("LENGTH", "129"), ("LENGTH", "1e2"), ("LENGTH", ""), ("ALPHABET", "all")] {
        let function = Function::shipped("random").with(name, value);
        if value.is_empty() {
            assert_eq!(function.done("create", &Values::default()).len(), 32, "nothing is the default");
        } else {
            function.fails("create", &Values::default(), 78, name);
        }
    }
    let member = Function::shipped("random").with("MEMBER", "password");
    member.fails("create", &Values::default(), 78, "MEMBER needs output=members");
    let value = Function::shipped("random-member").with("MEMBER", "");
    value.fails("create", &Values::of("{}"), 78, "output=members in the declaration needs MEMBER");
    Function::shipped("random").fails("promote", &Values::default(), 78, "none of create, set, test, finish");
}
