//! Every program that a rotation executes, with its arguments and its environment: no value is in any of them.

use std::fs;

use crate::call::Function;
use crate::secret::{Values, secrets};
use crate::{postgresql, redis, ssh_key, tls};

/// The password in a file of the administrator of Redis, which is in the environment of redis-cli and nowhere else.
const OF_ADMIN: &str = "rotator-password";

/// Rotates under strace, and looks at each execve(2).
fn keeps_to_itself(function: Function, first: Values) {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let function = function.traced_to(trace.path());
    let mut values = Values { before: b"the value before".to_vec(), ..first };
    let mut seen = values.secrets();
    values.create(&function);
    seen.extend(secrets(&values.new));
    for step in ["set", "test", "finish"] {
        function.done(step, &values);
    }
    let executed = fs::read_to_string(trace.path()).unwrap();
    assert!(executed.lines().count() > 10 && seen.len() > 2, "they were seen at all: {executed}");
    for line in executed.lines() {
        assert!(!seen.iter().any(|secret| line.contains(secret.as_str())), "{line}");
        let (arguments, environment) = line.split_once("], [").unwrap_or((line, ""));
        assert!(!arguments.contains(OF_ADMIN), "{line}");
        assert!(!environment.contains(OF_ADMIN) || arguments.contains("redis-cli"), "{line}");
    }
}

#[test]
fn no_value_is_in_an_argument_or_an_environment() {
    let (_postgres, function, values) = postgresql::with_app();
    keeps_to_itself(function, values);
    let (_redis, function, values) = redis::with_app();
    keeps_to_itself(function, values);
    let (_sshd, function) = ssh_key::with_sshd();
    keeps_to_itself(function, Values::of("the old value"));
    for form in ["members", "pem"] {
        keeps_to_itself(tls::function(form), Values::of(r#"{"tls.key":"the old value"}"#));
    }
}
