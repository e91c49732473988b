//! The values that a rotation goes over, and what kmsfs does with them between the steps.

use serde_json::{Map, Value as Json};

use crate::call::Function;
use crate::declaration::Output;

/// Shorter words of a value are not looked for: they are in other arguments as well.
const SECRET_LENGTH: usize = 8;

/// What the descriptors 3, 4 and 5 have.
#[derive(Clone, Debug, Default)]
pub struct Values {
    pub old: Vec<u8>,
    pub new: Vec<u8>,
    pub before: Vec<u8>,
}

impl Values {
    /// Those of a first rotation.
    pub fn of(old: impl Into<Vec<u8>>) -> Self {
        Self { old: old.into(), ..Self::default() }
    }

    /// Those of a Key/Value secret.
    pub fn of_members(username: &str, password: &str) -> Self {
        Self::of(serde_json::json!({ "host": "db", "username": username, "password": password }).to_string())
    }

    /// The member `name` of `value`.
    #[track_caller]
    pub fn member(value: &[u8], name: &str) -> String {
        let json: Json = serde_json::from_slice(value).unwrap();
        json[name].as_str().unwrap().to_owned()
    }

    pub fn secrets(&self) -> Vec<String> {
        [&self.old, &self.new, &self.before].into_iter().flat_map(|value| secrets(value)).collect()
    }

    /// Has `function` make the new value.
    #[track_caller]
    pub fn create(&mut self, function: &Function) {
        let printed = function.done("create", &Self { new: Vec::new(), ..self.clone() });
        self.new = match function.declaration.output {
            Output::Value => printed.into_bytes(),
            Output::Members => {
                let mut members: Map<String, Json> = serde_json::from_slice(&self.old).unwrap();
                let new: Map<String, Json> = serde_json::from_str(&printed).unwrap();
                assert!(new.values().all(Json::is_string), "members are texts");
                members.extend(new);
                Json::from(members).to_string().into_bytes()
            }
        };
        assert!((1..=30_720).contains(&self.new.len()), "a value has 1 to 30,720 bytes");
    }

    /// The values of the next rotation.
    pub fn promoted(self) -> Self {
        Self { old: self.new, new: Vec::new(), before: self.old }
    }
}

/// What nobody may see of a value: of a Key/Value one its members but the username, of others each line; of a private key its
/// body.
pub fn secrets(value: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(value).into_owned();
    let texts = match serde_json::from_slice::<Map<String, Json>>(value) {
        Ok(members) => {
            let secret = members.into_iter().filter(|(name, _)| name != "username" && name != "host");
            secret.filter_map(|(_, member)| Some(member.as_str()?.to_owned())).collect()
        }
        Err(_) => vec![text],
    };
    let lines = |text: &str| -> Vec<String> {
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("-----")).collect();
        // OpenSSH's private keys begin with the public one, which an argument may have.
        let public = if text.contains("OPENSSH PRIVATE KEY") { lines.len() / 2 } else { 0 };
        lines[public..].iter().filter(|line| line.len() >= SECRET_LENGTH).map(|&line| line.to_owned()).collect()
    };
    texts.iter().flat_map(|text| lines(text)).collect()
}
