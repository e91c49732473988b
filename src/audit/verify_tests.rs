//! A chain, and each way in which it can be spoilt.

use std::fs;
use std::path::Path;

use super::super::book::Book;
use super::super::record::{Body, Entry, Outcome, Target};
use super::*;
use crate::crypto::MasterKey;
use crate::id::{OpId, StoreId};

fn body(word: &str) -> Body {
    let target = Target { instance: Some("prod".to_owned()), secret: Some(word.to_owned()), ..Target::default() };
    let entry = Entry {
        op: OpId([1; 16]),
        action: None,
        gesture: "read",
        outcome: Outcome::Granted,
        code: None,
        reason: "mode".into(),
        account: None,
        uid: 0,
        gid: 0,
        tid: 1,
        facts: None,
        target: &target,
    };
    entry.body("p")
}

fn key(byte: u8, store: u8) -> AuditKey {
    MasterKey::from_bytes(&[byte; 32]).audit_key(StoreId([store; 16]))
}

/// A chain of `words` in `dir`, in segments of `most` bytes.
fn write(dir: &Path, key: AuditKey, most: u64, words: &[&str]) -> Book {
    let mut book = Book::new(dir.to_owned(), key, most, body("begin"), 0);
    assert_eq!(book.open().unwrap(), None);
    for word in words {
        book.add(&body(word)).unwrap();
    }
    book
}

const WORDS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn lines_of(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(|line| format!("{line}\n")).collect()
}

#[test]
fn each_defect_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let head = write(dir.path(), key(1, 1), 1 << 20, &WORDS).head().unwrap();
    assert_eq!((head.seq, head.segment), (6, 1));
    let path = Segment::at(dir.path(), 1).path;
    let whole = lines_of(&path);
    let foreign = tempfile::tempdir().unwrap();
    write(foreign.path(), key(1, 2), 1 << 20, &WORDS);
    let of_other_store = lines_of(&Segment::at(foreign.path(), 1).path);
    let spoil = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = whole.clone();
        change(&mut lines);
        lines.concat()
    };
    type Case<'a> = (&'a str, String, Option<(u64, u64, Wrong)>);
    let cases: [Case<'_>; 11] = [
        ("whole", spoil(&|_| ()), None),
        ("a byte", spoil(&|lines| lines[2] = lines[2].replace("\"b\"", "\"x\"")), Some((3, 3, Wrong::Altered))),
        (
            "a mac",
            spoil(&|lines| lines[2] = lines[2].replace("\"mac\":\"", "\"mac\":\"0")),
            Some((3, 3, Wrong::Altered)),
        ),
        ("removed", spoil(&|lines| drop(lines.remove(2))), Some((3, 4, Wrong::Missing))),
        ("swapped", spoil(&|lines| lines.swap(2, 3)), Some((3, 4, Wrong::Missing))),
        ("twice", spoil(&|lines| lines.insert(3, lines[2].clone())), Some((4, 3, Wrong::Reordered))),
        ("cut", spoil(&|lines| lines.truncate(4)), Some((0, 5, Wrong::CutOff))),
        (
            "torn",
            {
                let all = whole.concat();
                all[..all.len() - 20].to_owned()
            },
            Some((6, 6, Wrong::Torn)),
        ),
        ("of another store", spoil(&|lines| lines[2] = of_other_store[2].clone()), Some((3, 3, Wrong::Altered))),
        ("all of another store", of_other_store.concat(), Some((1, 1, Wrong::Altered))),
        ("the first", spoil(&|lines| drop(lines.remove(0))), Some((1, 2, Wrong::Missing))),
    ];
    for (what, text, expected) in cases {
        fs::write(&path, text).unwrap();
        let verified = verify(dir.path(), &key(1, 1), Some(&head)).unwrap();
        let found = verified.defect.map(|defect| (defect.line, defect.seq, defect.what));
        assert_eq!(found, expected, "{what}");
    }
    fs::write(&path, whole.concat()).unwrap();
    let by_another = verify(dir.path(), &key(2, 1), Some(&head)).unwrap();
    assert_eq!(by_another.defect.unwrap().what, Wrong::Altered, "another key");
}

#[test]
fn segments_follow_each_other_and_old_ones_may_go() {
    let dir = tempfile::tempdir().unwrap();
    let words: Vec<String> = (0..40).map(|n| format!("s{n}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let book = write(dir.path(), key(1, 1), 2048, &words);
    let head = book.head().unwrap();
    let segments = Segment::list(dir.path()).unwrap();
    assert!(segments.len() > 5 && head.segment == segments.len() as u64);
    let sound = |from: u64| {
        let verified = verify(dir.path(), &key(1, 1), Some(&head)).unwrap();
        assert_eq!((verified.defect, verified.first, verified.last), (None, Some(from), Some(head.seq)));
    };
    sound(1);
    let wanted = |after, limit| Wanted { after, limit, ..Wanted::default() };
    let numbers = |wanted: &Wanted| -> Vec<u64> {
        read(dir.path(), Some(&head), wanted).unwrap().iter().map(|record| record["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(&wanted(0, 1000)), (1..=head.seq).collect::<Vec<_>>());
    for after in 0..=head.seq {
        assert_eq!(numbers(&wanted(after, 3)), (after + 1..=(after + 3).min(head.seq)).collect::<Vec<_>>());
    }
    let one = Wanted { secret: Some("s7".to_owned()), instance: Some("prod".to_owned()), ..wanted(0, 9) };
    assert_eq!(numbers(&one).len(), 1);
    assert!(numbers(&Wanted { instance: Some("other".to_owned()), ..one }).is_empty());
    for (number, segment) in segments.iter().enumerate() {
        let mode = std::os::unix::fs::PermissionsExt::mode(&segment.path.metadata().unwrap().permissions()) & 0o777;
        assert_eq!(mode, if number + 1 == segments.len() { 0o600 } else { 0o400 });
    }
    // Whoever keeps the records may take the oldest away; one in the middle is missed.
    fs::remove_file(&segments[0].path).unwrap();
    let first = lines_of(&segments[1].path)[0].clone();
    sound(serde_json::from_str::<Json>(&first).unwrap()["seq"].as_u64().unwrap());
    fs::remove_file(&segments[3].path).unwrap();
    let defect = verify(dir.path(), &key(1, 1), Some(&head)).unwrap().defect.unwrap();
    assert_eq!((defect.segment, defect.line, defect.what), (5, 1, Wrong::Missing));
}

/// What the store knows of is missed, however much of it is gone; and what it does not know of is not.
#[test]
fn an_end_that_is_gone_leaves_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    drop(write(dir.path(), key(1, 1), 1 << 20, &WORDS));
    let path = Segment::at(dir.path(), 1).path;
    let whole = lines_of(&path);
    // (lines that are left, the number that the store knows of, what is said, the next number, what verification finds)
    for (left, known, said, next, found) in [
        (6, 0, None, 7, None),
        (6, 6, None, 7, None),
        (5, 4, None, 6, None),
        (5, 6, Some("records 6 to 6, "), 7, Some((6, 7, Wrong::Missing))),
        (2, 6, Some("records 3 to 6, "), 7, Some((3, 7, Wrong::Missing))),
        (6, 9, Some("records 7 to 9, "), 10, Some((7, 10, Wrong::Missing))),
        // Of a chain that is elsewhere nothing is here; this one begins behind it.
        (0, 6, Some("records 1 to 6, "), 7, None),
    ] {
        let case = format!("{left} left of those up to {known}");
        fs::write(&path, whole[..left].concat()).unwrap();
        let mut book = Book::new(dir.path().to_owned(), key(1, 1), 1 << 20, body("begin"), known);
        assert_eq!(
            book.open().unwrap(),
            said.map(|said| format!("{said}which the store knows of, are not here")),
            "{case}"
        );
        book.add(&body("more")).unwrap();
        book.add(&body("more")).unwrap();
        let last = book.head().unwrap().seq;
        let verified = verify(dir.path(), &key(1, 1), book.head().as_ref()).unwrap();
        let defect = verified.defect.map(|defect| (defect.line, defect.seq, defect.what));
        assert_eq!((lines_of(&path).len() > left, defect), (true, found), "{case}");
        let begun = u64::from(left == 0);
        assert_eq!(last, next + 1 + begun, "{case}");
    }
}

#[test]
fn a_chain_goes_on_where_it_was_left() {
    let dir = tempfile::tempdir().unwrap();
    drop(write(dir.path(), key(1, 1), 4096, &WORDS));
    let path = Segment::at(dir.path(), 1).path;
    // (what is behind the last record, whether something is mended)
    for (behind, mended) in [("", false), ("{\"seq\":7,\"ti", true), ("\0\0\0", true), ("", false)] {
        fs::write(&path, fs::read_to_string(&path).unwrap() + behind).unwrap();
        let mut book = Book::new(dir.path().to_owned(), key(1, 1), 1 << 20, body("begin"), 0);
        assert_eq!(book.open().unwrap().is_some(), mended, "{behind:?}");
        book.add(&body("more")).unwrap();
        let head = book.head().unwrap();
        assert_eq!(verify(dir.path(), &key(1, 1), Some(&head)).unwrap().defect, None, "{behind:?}");
    }
    // A first record that was cut off, in a segment of its own.
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    fs::write(Segment::at(dir.path(), 2).path, "{\"se").unwrap();
    let mut book = Book::new(dir.path().to_owned(), key(1, 1), 1 << 20, body("begin"), 0);
    assert!(book.open().unwrap().unwrap().contains("segment 2"));
    book.add(&body("more")).unwrap();
    let head = book.head().unwrap();
    assert_eq!(head.segment, 2);
    assert_eq!(verify(dir.path(), &key(1, 1), Some(&head)).unwrap().defect, None);
    drop(book);
    // What is no record is left for whoever verifies, and nothing is added to it.
    let path = Segment::at(dir.path(), 2).path;
    fs::write(&path, fs::read_to_string(&path).unwrap() + "nonsense\n").unwrap();
    let mut book = Book::new(dir.path().to_owned(), key(1, 1), 1 << 20, body("begin"), 0);
    assert!(book.open().unwrap().is_some());
    book.add(&body("more")).unwrap();
    let head = book.head().unwrap();
    assert_eq!(head.segment, 3);
    let defect = verify(dir.path(), &key(1, 1), Some(&head)).unwrap().defect.unwrap();
    assert_eq!((defect.segment, defect.what), (2, Wrong::Altered));
}
