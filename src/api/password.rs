//! GetRandomPassword: characters drawn without bias, stored nowhere.

use zeroize::Zeroizing;

use super::members::{Members, invalid};
use super::plain::Plain;
use super::{ApiError, Asked, Body};
use crate::secret::{Action, DataType};
use crate::value::Value;
use crate::vault::{VaultError, random_bytes};

/// Characters of a password, unless asked otherwise.
const USUAL_LENGTH: usize = 32;
/// Fewest and most characters.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=128;
/// The types of characters, each with what leaves it out.
const TYPES: [(&str, &str); 4] = [
    ("ExcludeLowercase", "abcdefghijklmnopqrstuvwxyz"),
    ("ExcludeUppercase", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    ("ExcludeNumbers", "0123456789"),
    ("ExcludePunctuation", "!\"#$%&'()*+,-./:;<=>?@[\\]^_{|}~"),
];

/// GetRandomPassword.
pub fn random(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let length = request.number("PasswordLength", LENGTHS)?.unwrap_or(USUAL_LENGTH);
    let without = request.text("ExcludeCharacters")?.unwrap_or_default();
    let mut types = Vec::new();
    for (parameter, characters) in TYPES {
        let kept: Vec<u8> = characters.bytes().filter(|byte| !without.as_bytes().contains(byte)).collect();
        if !request.flag(parameter)? && !kept.is_empty() {
            types.push(kept);
        }
    }
    let each = request.choice("RequireEachIncludedType")?.unwrap_or(true);
    asked.end(request, Action::GetRandomPassword)?;
    if types.is_empty() {
        return Err(invalid("ExcludeCharacters", "leaves no character, with the types that are left out"));
    }
    let value = draw(length, &types, each)?;
    Ok(Body::Plain(Plain { members: serde_json::Map::new(), name: "RandomPassword", value, kind: DataType::Text }))
}

/// `length` characters of `types`; with `each`, at least one of every type. All such passwords are equally likely.
fn draw(length: usize, types: &[Vec<u8>], each: bool) -> Result<Value, VaultError> {
    let all: Vec<u8> = types.concat();
    loop {
        let mut value = Value::empty();
        value.resize(length);
        for at in 0..length {
            value.write_at(at, &[all[below(all.len())?]]);
        }
        let has = |kind: &Vec<u8>| value.as_bytes().iter().any(|byte| kind.contains(byte));
        // Of 8 characters of four types one in three misses a type, so that it is soon found.
        if !each || types.iter().all(has) {
            return Ok(value);
        }
    }
}

/// A number below `bound`, which is at most 256; all are equally likely.
fn below(bound: usize) -> Result<usize, VaultError> {
    let fair = 256 - 256 % bound;
    loop {
        let mut byte = Zeroizing::new([0]);
        random_bytes(&mut *byte)?;
        if usize::from(byte[0]) < fair {
            return Ok(usize::from(byte[0]) % bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_in_it_and_nothing_else() {
        let types: Vec<Vec<u8>> = TYPES.iter().map(|(_, characters)| characters.bytes().collect()).collect();
        for length in [8, 32, 128] {
            for _ in 0..200 {
                let value = draw(length, &types, true).unwrap();
                assert_eq!(value.len(), length);
                for kind in &types {
                    assert!(value.as_bytes().iter().any(|byte| kind.contains(byte)));
                }
            }
        }
        let digits = draw(64, &types[2..3], true).unwrap();
        assert!(digits.as_bytes().iter().all(u8::is_ascii_digit));
    }

    #[test]
    fn all_characters_come_about_equally_often() {
        const DRAWS: usize = 93_000;
        let types: Vec<Vec<u8>> = TYPES.iter().map(|(_, characters)| characters.bytes().collect()).collect();
        let all = types.concat();
        let mut counts = vec![0_usize; 256];
        for _ in 0..DRAWS / 128 {
            for byte in draw(128, &types, false).unwrap().as_bytes() {
                counts[usize::from(*byte)] += 1;
            }
        }
        let expected = DRAWS / all.len();
        for byte in &all {
            let count = counts[usize::from(*byte)];
            assert!(count > expected * 8 / 10 && count < expected * 12 / 10, "{count} of {expected}");
        }
    }
}
