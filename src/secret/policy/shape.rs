//! JSON of one shape where one shape is expected. What is refused is refused in our words: serde's own would repeat what stands in
//! the document. The line is added by who has read all of it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Longest name of a member, in bytes, that a refusal repeats.
const REPEATED_MAX: usize = 64;

/// What stands at one place of a document. Each kind of JSON that it does not take itself is refused with `is`.
pub(super) trait Shape<'de>: Sized {
    /// What is made of it.
    type Value;

    /// What has to stand there, as a sentence.
    fn is(&self) -> String;

    fn text<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(E::custom(self.is()))
    }

    fn number<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Err(E::custom(self.is()))
    }

    fn flag<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Err(E::custom(self.is()))
    }

    fn list<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(A::Error::custom(self.is()))
    }

    fn members<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(A::Error::custom(self.is()))
    }
}

/// Reads what has a shape.
pub(super) struct Read<S>(pub(super) S);

impl<'de, S: Shape<'de>> DeserializeSeed<'de> for Read<S> {
    type Value = S::Value;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, S: Shape<'de>> Visitor<'de> for Read<S> {
    type Value = S::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.is())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<S::Value, E> {
        self.0.text(text)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<S::Value, E> {
        self.0.number(number)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<S::Value, E> {
        self.0.flag(flag)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<S::Value, A::Error> {
        self.0.list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<S::Value, A::Error> {
        self.0.members(members)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<S::Value, E> {
        Err(E::custom(self.0.is()))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<S::Value, E> {
        Err(E::custom(self.0.is()))
    }

    fn visit_unit<E: Error>(self) -> Result<S::Value, E> {
        Err(E::custom(self.0.is()))
    }
}

/// A list that is not empty, or one in the place of the list.
pub(super) struct OneOrMore<S>(pub(super) S);

impl<'de, S: Shape<'de> + Copy> Shape<'de> for OneOrMore<S> {
    type Value = Vec<S::Value>;

    fn is(&self) -> String {
        self.0.is()
    }

    fn text<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![self.0.text(text)?])
    }

    fn number<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(vec![self.0.number(number)?])
    }

    fn flag<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(vec![self.0.flag(flag)?])
    }

    fn list<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        all_of(self.0, list)
    }
}

/// All elements of `list`, which are some.
pub(super) fn all_of<'de, S, A>(shape: S, mut list: A) -> Result<Vec<S::Value>, A::Error>
where
    S: Shape<'de> + Copy,
    A: SeqAccess<'de>,
{
    let mut values = Vec::new();
    while let Some(value) = list.next_element_seed(Read(shape))? {
        values.push(value);
    }
    if values.is_empty() {
        return Err(A::Error::custom(format_args!("the list is empty: {}", shape.is())));
    }
    Ok(values)
}

/// The name of a member, one of a table. Gives the row.
#[derive(Clone, Copy)]
pub(super) struct OneOf<T: 'static> {
    /// What the table is of: `member of a statement`.
    pub(super) what: &'static str,
    pub(super) table: &'static [(&'static str, T)],
}

impl<T: Copy> Shape<'_> for OneOf<T> {
    type Value = (&'static str, T);

    fn is(&self) -> String {
        let names: Vec<_> = self.table.iter().map(|(name, _)| *name).collect();
        format!("there is {}", names.join(", "))
    }

    fn text<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.table.iter().find(|(name, _)| *name == text).copied().ok_or_else(|| {
            let named =
                if text.len() <= REPEATED_MAX { format!("`{}`", text.escape_debug()) } else { "this".to_owned() };
            E::custom(format_args!("{named} is no {}: {}", self.what, self.is()))
        })
    }
}

/// The refusal of a member that stands there for the second time: which of the two was meant is not known.
pub(super) fn twice<E: Error>(name: &str) -> E {
    E::custom(format_args!("`{name}` stands here for the second time: leave one of them"))
}

/// Reads the value of the member `name` into `slot`, which is empty unless the member is there twice.
pub(super) fn fill<'de, S: Shape<'de>, A: MapAccess<'de>>(
    slot: &mut Option<S::Value>,
    name: &str,
    shape: S,
    members: &mut A,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(twice(name));
    }
    *slot = Some(members.next_value_seed(Read(shape))?);
    Ok(())
}

/// What was read of a member that has to be there.
pub(super) fn given<T, E: Error>(slot: Option<T>, whole: &str, name: &str) -> Result<T, E> {
    slot.ok_or_else(|| E::custom(format_args!("{whole} that ends here has no {name}")))
}
