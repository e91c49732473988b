//! The values that conditions compare with, each read as what its key is.

use serde::de::Error;

use super::pattern::Pattern;
use super::shape::Shape;
use crate::time::Timestamp;

/// A time, to the second.
#[derive(Clone, Copy)]
pub(super) struct Date;

impl Shape<'_> for Date {
    type Value = Timestamp;

    fn is(&self) -> String {
        "a time is text, as `2027-01-01T00:00:00Z` or `2027-01-01T08:00:00+08:00`, of 1970 or later".to_owned()
    }

    fn text<E: Error>(self, text: &str) -> Result<Timestamp, E> {
        Timestamp::parse(text).ok_or_else(|| E::custom(self.is()))
    }
}

/// A user, as a number or in digits.
#[derive(Clone, Copy)]
pub(super) struct Uid;

impl Shape<'_> for Uid {
    type Value = u32;

    fn is(&self) -> String {
        "a uid is a number from 0 to 4294967295, in digits".to_owned()
    }

    fn text<E: Error>(self, text: &str) -> Result<u32, E> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or_else(|| E::custom(self.is()))
    }

    fn number<E: Error>(self, number: u64) -> Result<u32, E> {
        number.try_into().map_err(|_| E::custom(self.is()))
    }
}

/// `true` or `false`, also as text.
#[derive(Clone, Copy)]
pub(super) struct Flag;

impl Shape<'_> for Flag {
    type Value = bool;

    fn is(&self) -> String {
        "acs:SecureTransport is true or false".to_owned()
    }

    fn text<E: Error>(self, text: &str) -> Result<bool, E> {
        text.parse().map_err(|_| E::custom(self.is()))
    }

    fn flag<E: Error>(self, flag: bool) -> Result<bool, E> {
        Ok(flag)
    }
}

/// A cgroup as it is.
#[derive(Clone, Copy)]
pub(super) struct Cgroup;

impl Shape<'_> for Cgroup {
    type Value = Box<str>;

    fn is(&self) -> String {
        "a cgroup is text, as `/system.slice/app.service`".to_owned()
    }

    fn text<E: Error>(self, text: &str) -> Result<Box<str>, E> {
        Ok(text.into())
    }
}

/// A pattern of cgroups.
#[derive(Clone, Copy)]
pub(super) struct CgroupPattern;

impl Shape<'_> for CgroupPattern {
    type Value = Pattern;

    fn is(&self) -> String {
        Cgroup.is()
    }

    fn text<E: Error>(self, text: &str) -> Result<Pattern, E> {
        Ok(Pattern::new(text))
    }
}
