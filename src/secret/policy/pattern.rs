//! Patterns of StringLike: `*` stands for any characters, `?` for one.
//!
//! The text is the caller's and the patterns are somebody else's, so neither may choose how long it takes. A text is turned
//! into a table once: for each character a row of bits, one for each place where it stands. To go on by one character of a
//! pattern from all places at once is then one AND and one shift of a row, whatever the two are: the work is one step for each
//! character of the pattern.

use std::cell::OnceCell;
use std::collections::BTreeMap;

/// Longest text in bytes.
pub(super) const TEXT_MAX: usize = 512;
/// A bit for each character, and one for the place behind the last of them.
const WORDS: usize = TEXT_MAX / 64 + 1;
const ASCII: usize = 128;

/// A pattern, with one `*` in the place of several in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Box<str>);

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let mut kept = String::with_capacity(text.len());
        for char in text.chars() {
            if char != '*' || !kept.ends_with('*') {
                kept.push(char);
            }
        }
        Self(kept.into())
    }

    /// Whether `text` fits. Each piece between two stars takes the first place there is, which leaves the most for those behind it.
    pub(super) fn fits(&self, text: &Text<'_>) -> bool {
        let places = text.places();
        let mut pieces = self.0.split('*');
        let mut behind = places.behind(pieces.next().unwrap_or_default(), Row::only(0));
        let Some(tail) = pieces.next_back() else { return behind.has(places.length) };
        for piece in pieces {
            behind = places.behind(piece, behind.onwards());
            if behind.is_empty() {
                return false;
            }
        }
        let Some(start) = places.length.checked_sub(tail.chars().count()) else { return false };
        behind.onwards().has(start) && places.behind(tail, Row::only(start)).has(places.length)
    }
}

/// A text that patterns are held against.
pub(super) struct Text<'a> {
    text: &'a str,
    places: OnceCell<Places>,
}

impl<'a> Text<'a> {
    /// `None` where it is too long for that.
    pub(super) fn new(text: &'a str) -> Option<Self> {
        (text.len() <= TEXT_MAX).then(|| Self { text, places: OnceCell::new() })
    }

    pub(super) fn as_str(&self) -> &'a str {
        self.text
    }

    fn places(&self) -> &Places {
        self.places.get_or_init(|| Places::of(self.text))
    }
}

/// Where each character of a text stands, counted in characters.
struct Places {
    length: usize,
    any: Row,
    ascii: Box<[Row]>,
    others: BTreeMap<char, Row>,
}

impl Places {
    /// Of a text of no more than [`TEXT_MAX`] bytes.
    fn of(text: &str) -> Self {
        let mut places =
            Self { length: 0, any: Row::NONE, ascii: vec![Row::NONE; ASCII].into(), others: BTreeMap::new() };
        for char in text.chars() {
            let row = match places.ascii.get_mut(char as usize) {
                Some(row) => row,
                None => places.others.entry(char).or_insert(Row::NONE),
            };
            row.add(places.length);
            places.any.add(places.length);
            places.length += 1;
        }
        places
    }

    fn row(&self, char: char) -> &Row {
        match self.ascii.get(char as usize) {
            _ if char == '?' => &self.any,
            Some(row) => row,
            None => self.others.get(&char).unwrap_or(&Row::NONE),
        }
    }

    /// The places behind `piece`, where it may stand at any of `starts`.
    fn behind(&self, piece: &str, starts: Row) -> Row {
        piece.chars().fold(starts, |at, char| at.step(self.row(char)))
    }
}

/// A set of places.
#[derive(Debug, Clone, Copy)]
struct Row([u64; WORDS]);

impl Row {
    const NONE: Row = Row([0; WORDS]);

    fn only(place: usize) -> Self {
        let mut row = Row::NONE;
        row.add(place);
        row
    }

    fn add(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    fn has(&self, place: usize) -> bool {
        self.0[place / 64] & (1 << (place % 64)) != 0
    }

    fn is_empty(&self) -> bool {
        self.0.iter().fold(0, |all, word| all | word) == 0
    }

    /// All places from the first of them on.
    fn onwards(mut self) -> Self {
        let mut before = 0;
        for word in &mut self.0 {
            *word |= word.wrapping_neg() | before;
            before = if *word == 0 { 0 } else { u64::MAX };
        }
        self
    }

    /// The places one further than those that are in `chars` too.
    fn step(self, chars: &Row) -> Self {
        let mut next = Row::NONE;
        let mut carried = 0;
        for ((next, at), char) in next.0.iter_mut().zip(self.0).zip(chars.0) {
            let both = at & char;
            *next = both << 1 | carried;
            carried = both >> 63;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).fits(&Text::new(text).unwrap())
    }

    #[test]
    fn a_star_is_any_characters_and_a_question_mark_one() {
        let (long, longer) = ("a".repeat(512), format!("{}b", "a".repeat(511)));
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("***", "abc", true),
            ("?", "", false),
            ("?", "ä", true),
            ("??", "ä", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b", "abc", false),
            ("a*c", "ac", true),
            ("a*c", "a", false),
            ("a*a", "a", false),
            ("ab*ba", "aba", false),
            ("ab*ba", "abba", true),
            ("*b*", "abc", true),
            ("*ab*ab*", "abab", true),
            ("*ab*ab*", "aba", false),
            ("*?b?*", "abc", true),
            ("*?b?*", "ab", false),
            ("*aab*", "aaab", true),
            ("*a?*c", "abcac", true),
            ("A", "a", false),
            ("*ö?x*", "aöéx", true),
            ("/system.slice/app-?.service", "/system.slice/app-1.service", true),
            ("/system.slice/app-?.service", "/system.slice/app-10.service", false),
            ("/*.slice/*", "/system.slice/a", true),
            (&long, &long, true),
            (&long, &longer, false),
            (&longer, &longer, true),
            (&"?".repeat(512), &long, true),
            (&"?".repeat(513), &long, false),
            (&"*?".repeat(512), &long, true),
            (&"*?".repeat(513), &long, false),
            ("*b", &longer, true),
            ("*b?", &longer, false),
            ("*aab*", &longer, true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
        assert!(Text::new(&"a".repeat(513)).is_none());
        assert_eq!(Pattern::new("**a**b***"), Pattern::new("*a*b*"));
    }

    /// What the words say, and nothing else: slow.
    fn by_the_book(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skipped| by_the_book(rest, &text[skipped..])),
            Some((first, rest)) => text
                .split_first()
                .is_some_and(|(char, text)| (*first == '?' || first == char) && by_the_book(rest, text)),
        }
    }

    proptest! {
        #[test]
        fn it_is_as_the_book_has_it(pattern in "[abö*?]{0,8}", text in "[abö]{0,70}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(fits(&pattern, &text), by_the_book(&chars(&pattern), &chars(&text)));
        }

        #[test]
        fn it_does_so_across_words(text in "[ab]{70}", from in 0usize..60, len in 0usize..10) {
            let piece = &text[from..from + len];
            for pattern in [format!("*{piece}*"), format!("{}{piece}*", "?".repeat(from)), format!("*{}", &text[from..])] {
                prop_assert!(fits(&pattern, &text), "{} {}", pattern, text);
            }
        }
    }
}
