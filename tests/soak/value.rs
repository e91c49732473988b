//! Values that say which they are, so that a part, a mixture and a stranger show.

/// Longest value that a secret takes, in bytes.
const LONGEST: u64 = 30_720;
/// Values up to this length come as often as all longer ones.
const SHORT: u64 = 200;

/// The value number `n` of `secret`: one line that names it, then letters that no other value has.
pub fn value(secret: &str, n: u64) -> Vec<u8> {
    let mut random = Random::new(secret.bytes().fold(n, |seed, byte| seed.wrapping_mul(257) + u64::from(byte)));
    let mut value = format!("{secret} {n}\n").into_bytes();
    let most = if random.below(2) == 0 { SHORT } else { LONGEST };
    let len = random.below(most - value.len() as u64);
    value.extend((0..len).map(|_| b'a' + random.below(26) as u8));
    value
}

/// Which value of `secret` these bytes are; what is wrong with them otherwise.
pub fn number(secret: &str, bytes: &[u8]) -> Result<u64, String> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let named = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix(secret)?.strip_prefix(' '));
    let Some(n) = named.and_then(|n| n.parse().ok()) else {
        return Err(format!(
            "no value of {secret}, {} bytes that begin {:?}",
            bytes.len(),
            String::from_utf8_lossy(line)
        ));
    };
    let whole = value(secret, n);
    if bytes == whole {
        return Ok(n);
    }
    let same = bytes.iter().zip(&whole).take_while(|(one, other)| one == other).count();
    Err(format!("value {n} up to byte {same}, {} bytes where it has {}", bytes.len(), whole.len()))
}

/// Numbers that are the same in each run (xorshift).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..4).for_each(|_| {
            random.below(1);
        });
        random
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[test]
fn what_is_wrong_with_a_value_shows() {
    let whole = value("a", 7);
    assert_eq!(number("a", &whole), Ok(7));
    let mut mixed = whole.clone();
    *mixed.last_mut().unwrap() ^= 1;
    for (secret, bytes) in [("b", &whole[..]), ("a", &whole[..whole.len() - 1]), ("a", &mixed), ("a", b"")] {
        assert!(number(secret, bytes).is_err(), "{secret} {bytes:?}");
    }
}
