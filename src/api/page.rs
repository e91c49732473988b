//! Lists in pages: by number, as KMS has them, or by a token, which lets a long list be read on without counting it anew.

use serde_json::{Map, Value as Json};

use super::members::Members;
use super::{ApiError, object};

/// Which part of a list is asked for.
pub struct Page {
    number: usize,
    size: usize,
}

/// What is in the page, while a list goes by.
pub struct Filling<T> {
    page: Page,
    passed: usize,
    rows: Vec<T>,
}

impl Page {
    /// `PageNumber` and `PageSize`, of which `usual` rows are in a page and 100 at most.
    pub fn take(members: &mut Members<'_>, usual: usize) -> Result<Self, ApiError> {
        let number = members.number("PageNumber", 1..=usize::MAX)?.unwrap_or(1);
        let size = members.number("PageSize", 1..=100)?.unwrap_or(usual);
        Ok(Self { number, size })
    }

    /// An empty page.
    pub fn fill<T>(self) -> Filling<T> {
        Filling { page: self, passed: 0, rows: Vec::new() }
    }
}

impl<T> Filling<T> {
    /// One row of the list; it is made only if it is in the page.
    pub fn pass(&mut self, row: impl FnOnce() -> Result<T, ApiError>) -> Result<(), ApiError> {
        let first = (self.page.number - 1).saturating_mul(self.page.size);
        if self.passed >= first && self.rows.len() < self.page.size {
            self.rows.push(row()?);
        }
        self.passed += 1;
        Ok(())
    }

    /// The page's rows, and the members that tell of the list.
    pub fn end(self) -> (Vec<T>, Map<String, Json>) {
        let told = object! {
            "PageNumber": self.page.number,
            "PageSize": self.page.size,
            "TotalCount": self.passed,
        };
        (self.rows, told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_out_of_the_whole() {
        // (page, size) of seven rows -> those in it
        for ((number, size), expected) in [
            ((1, 3), &[0, 1, 2][..]),
            ((3, 3), &[6]),
            ((4, 3), &[]),
            ((1, 100), &[0, 1, 2, 3, 4, 5, 6]),
            ((usize::MAX, 100), &[]),
        ] {
            let mut filling = Page { number, size }.fill();
            for row in 0..7 {
                filling.pass(|| Ok(row)).unwrap();
            }
            let (rows, told) = filling.end();
            assert_eq!((&rows[..], &told["TotalCount"]), (expected, &Json::from(7)), "page {number}");
        }
    }
}
