//! What a source has: secrets as it names them, before anybody asks whether they can be had here.

use crate::value::Value;

/// One secret of a source.
pub struct Found {
    /// Where it stands, for people: a file, a line of it, an entry.
    pub from: String,
    /// The instance, of sources that know instances.
    pub instance: Option<String>,
    /// As the source has it.
    pub name: String,
    /// At least one; in the order in which they were made, as far as that is known.
    pub versions: Vec<Version>,
    /// Keys and values as the source has them.
    pub tags: Vec<(String, String)>,
    /// Empty where there is none.
    pub description: String,
    /// What was changed or left out on the way.
    pub notes: Vec<String>,
}

/// One version of it.
pub struct Version {
    /// Its id, of sources that have ids.
    pub id: Option<String>,
    /// Labels, the built-in ones by the names that they have here.
    pub stages: Vec<String>,
    /// Never changed on the way.
    pub value: Value,
}

/// What was not taken, and why.
pub struct Skipped {
    pub what: String,
    pub why: &'static str,
}

/// All that a source has.
#[derive(Default)]
pub struct Finding {
    pub secrets: Vec<Found>,
    pub skipped: Vec<Skipped>,
}

/// Why a source cannot be understood. Never what stands there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("line {line}: {what}")]
    Line { line: usize, what: &'static str },
    #[error("{what}")]
    Shape { what: &'static str },
}

/// A document of another shape.
pub const fn shape(what: &'static str) -> Malformed {
    Malformed::Shape { what }
}

/// The label of the version that is read.
pub const CURRENT: &str = "ACSCurrent";
/// The label of the one before.
pub const PREVIOUS: &str = "ACSPrevious";

impl Found {
    /// A secret with one version and nothing else.
    pub fn plain(from: String, name: String, value: Value) -> Self {
        let versions = vec![Version { id: None, stages: Vec::new(), value }];
        Self { from, instance: None, name, versions, tags: Vec::new(), description: String::new(), notes: Vec::new() }
    }

    /// Brings the version that is to be current to the end, and the former one before it: so they get these labels by being
    /// written in this order.
    pub fn in_order(mut self) -> Self {
        let rank = |version: &Version| {
            let is = |label: &str| version.stages.iter().any(|stage| stage == label);
            if is(CURRENT) { 2 } else { u8::from(is(PREVIOUS)) }
        };
        self.versions.sort_by_key(rank);
        self
    }
}
