//! Each step of each function, killed with all its processes at moments from its begin to its end, and then taken again.

use std::time::Instant;

use crate::call::{Function, STEPS};
use crate::secret::Values;
use crate::{postgresql, redis, ssh_key, tls};

/// Moments at which a step is killed, evenly from its begin to its end.
const MOMENTS: u32 = 3;

/// Kills every step of a rotation of `values`, and sees to it that `lets_in` holds for them at the end.
fn survives(function: &Function, mut values: Values, lets_in: impl Fn(&Values)) {
    let mut killed = 0;
    for step in STEPS {
        // A run that nobody disturbs, of which each later one is a repetition.
        let begun = Instant::now();
        if step == "create" {
            values.create(function)
        } else {
            drop(function.done(step, &values))
        }
        let took = begun.elapsed();
        for moment in 0..MOMENTS {
            killed += u32::from(function.kill(step, &values, took * moment / MOMENTS));
            if step == "create" { values.create(function) } else { drop(function.done(step, &values)) }
        }
    }
    assert!(killed >= MOMENTS, "{killed} were killed");
    lets_in(&values);
}

#[test]
fn a_role_of_postgresql() {
    let (postgres, function, values) = postgresql::with_app();
    survives(&function, values, |values| assert!(postgres.lets_in("app", &Values::member(&values.new, "password"))));
}

#[test]
fn a_user_of_redis() {
    let (redis, function, values) = redis::with_app();
    survives(&function, values, |values| {
        assert!(
            [&values.old, &values.new].iter().all(|value| redis.lets_in("app", &Values::member(value, "password")))
        );
    });
}

#[test]
fn a_key_of_ssh() {
    let (sshd, function) = ssh_key::with_sshd();
    let file = sshd.at("authorized_keys");
    std::fs::write(&file, "# somebody else's\n").unwrap();
    survives(&function, Values::of("none"), |values| {
        assert!(sshd.lets_in(&values.new));
        assert!(std::fs::read_to_string(&file).unwrap().starts_with("# somebody else's\n"));
    });
}

#[test]
fn a_certificate_and_a_password() {
    survives(&tls::function("pem"), Values::of("none"), |_| {});
    survives(&Function::shipped("random"), Values::of("none"), |_| {});
}
