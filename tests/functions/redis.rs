//! `redis` on a Redis: two passwords at a time, for the users that are declared.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::call::{Function, STEPS};
use crate::secret::Values;
use crate::services::{Account, Redis};

pub const USERS: &str = "user default off\n\
    user rotator on >rotator-password -@all +acl|getuser +acl|setuser +acl|save +config|get +config|rewrite\n\
    user app on >app-old-password >app-older-password ~* +ping +get\n\
    user bystander on >bystander-password ~* +ping\n\
    user asleep off >asleep-password +ping\n";

/// A file of Redis' user with the administrator's password.
pub fn password_file(redis: &Redis, password: &str) -> PathBuf {
    let file = redis.dir.path().join("rotator.password");
    fs::write(&file, format!("{password}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    Account::named("redis").owns(&file);
    file
}

fn function(redis: &Redis) -> Function {
    let function = Function::shipped("redis").binding("USERS", "app").with("ADMIN_USER", "rotator");
    let function = function.with_path("ADMIN_PASSWORD_FILE", &password_file(redis, "rotator-password"));
    function.with_path("REDIS_SOCKET", &redis.socket())
}

/// A Redis with `app`, and the function that may change it.
pub fn with_app() -> (Redis, Function, Values) {
    let redis = Redis::start(USERS, true);
    let function = function(&redis).with("PERSIST", "acl-file");
    (redis, function, Values::of_members("app", "app-old-password"))
}

#[test]
fn the_old_password_and_the_new_one_log_in_until_the_next_rotation() {
    for (acl_file, persist) in [(true, "acl-file"), (false, "config")] {
        let mut redis = Redis::start(USERS, acl_file);
        let function = function(&redis).with("PERSIST", persist);
        let mut values = Values::of_members("app", "app-old-password");
        let mut passwords = vec!["app-older-password".to_owned(), "app-old-password".to_owned()];
        for _ in 0..2 {
            values.create(&function);
            assert_eq!(Values::member(&values.new, "host"), "db", "it is kept");
            passwords.push(Values::member(&values.new, "password"));
            let [before, old, new] = &passwords[passwords.len() - 3..] else { unreachable!("there are three") };
            for step in ["set", "set", "test", "finish"] {
                assert_eq!(function.done(step, &values), "");
                assert!(redis.lets_in("app", old) && redis.lets_in("app", new), "{step}");
                assert!(!redis.lets_in("app", before), "{step}");
            }
            values = values.promoted();
        }
        redis.restart();
        let [before, old, new] = &passwords[passwords.len() - 3..] else { unreachable!("there are three") };
        assert!(redis.lets_in("app", old) && redis.lets_in("app", new) && !redis.lets_in("app", before));
        assert!(redis.ask("app", new, "SET a b").starts_with("NOPERM"), "the rights are as they were");
    }
}

/// By the loopback, with the administrator that Redis has from the start: `default`, without a password.
#[test]
fn it_also_comes_by_the_network_as_nobody() {
    let redis = Redis::start("user app on >app-old-password +ping\n", true);
    let function = Function::shipped("redis").binding("USERS", "app").with("REDIS_PORT", redis.port.to_string());
    let mut values = Values::of_members("app", "app-old-password");
    values.create(&function);
    for step in ["set", "test", "finish"] {
        function.done(step, &values);
    }
    assert!(redis.lets_in("app", &Values::member(&values.new, "password")));
}

#[test]
fn only_declared_users_are_touched_whatever_the_secret_says() {
    let (redis, function, _) = with_app();
    let users =
        || redis.ask("default", "", "PING") + &redis.ask("rotator", "rotator-password", "ACL GETUSER bystander");
    let before = users();
    for username in
        ["", "bystander", "rotator", "default", "app\n", "app\nFLUSHALL", "app allcommands", "\"app\"", "-x", "\u{e4}"]
    {
        let mut values = Values::of_members(username, "app-old-password");
        values.new = values.old.clone();
        for step in ["create", "set"] {
            function.fails(step, &values, 78, "`username`");
        }
    }
    for value in [&b""[..], b"text", b"[]", b"{}", b"{\"username\":\"app\"", b"{\"username\":[\"app\"]}"] {
        function.fails("create", &Values::of(value), 78, "`username`");
    }
    for value in [r#"{"username":"app"}"#, r#"{"username":"app","password":7}"#, r#"{"username":"app","password":""}"#]
    {
        function.fails("create", &Values::of(value), 78, "`password`");
    }
    assert_eq!(users(), before);
    assert!(redis.lets_in("app", "app-older-password"), "nothing has changed");
    // An odd old password stays valid, to the byte.
    for odd in ["'; \"\\ $(id) `id` %s", "two\nlines\n", "schl\u{fc}ssel \u{1f511}"] {
        let mut values = Values::of_members("app", odd);
        values.create(&function);
        function.done("set", &values);
        function.done("test", &values);
        assert!(redis.lets_in("app", odd), "{odd:?}");
    }
}

/// Whoever may write one of two secrets gets at nothing of the other one's by it.
#[test]
fn no_secret_takes_the_user_of_another_one() {
    let (redis, function, _) = with_app();
    let mut function = function.with("USERS", "prod/db/a=b:app prod/db/a:bystander");
    let acl = redis.dir.path().join("users.acl");
    let before = fs::read(&acl).unwrap();
    for (secret, own, others) in [("prod/db/a=b", "app", "bystander"), ("prod/db/a", "bystander", "app")] {
        function = function.rotating(secret);
        let mut values = Values::of_members(others, "another-password");
        values.new = values.old.clone();
        for step in ["create", "set", "test"] {
            function.fails(step, &values, 78, "`username`");
        }
        // Nor with the new value alone.
        values.old = Values::of_members(own, "another-password").old;
        function.fails("set", &values, 78, "`username`");
        values.create(&function);
    }
    let mut values = Values::of_members("app", "another-password");
    values.new = values.old.clone();
    for secret in ["prod/db/b", "prod/db/a=", "prod/db/*", "db/a", "prod/db/a=b/c"] {
        function = function.rotating(secret);
        for step in STEPS {
            function.fails(step, &values, 78, "has no entry for this secret");
        }
    }
    assert_eq!(fs::read(&acl).unwrap(), before, "nothing has changed");
    assert!(redis.lets_in("app", "app-older-password") && redis.lets_in("bystander", "bystander-password"));
    assert!(!redis.lets_in("app", "another-password") && !redis.lets_in("bystander", "another-password"));
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let (mut redis, function, mut values) = with_app();
    values.create(&function);
    for (username, words) in [("gone", "there is no user gone"), ("asleep", "the user asleep is off")] {
        let mut values = Values::of_members(username, "app-old-password");
        values.new = values.old.clone();
        super::redis::function(&redis).binding("USERS", username).fails("set", &values, 78, words);
    }
    function.fails("test", &values, 1, "WRONGPASS");
    let file = password_file(&redis, "wrong-password");
    function.fails("set", &values, 1, "does not let rotator in with the password in");
    for mode in [0o644, 0o660, 0o604] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        function.fails("set", &values, 78, "is open to others");
    }
    fs::remove_file(file).unwrap();
    function.fails("set", &values, 78, "cannot be read");
    let of = |settings: &[(&str, &str)]| {
        settings.iter().fold(super::redis::function(&redis), |function, (name, value)| function.with(name, value))
    };
    of(&[("PERSIST", "config")]).fails("set", &values, 78, "PERSIST=acl-file");
    of(&[("PERSIST", "yes")]).fails("set", &values, 78, "PERSIST is none of");
    of(&[("ADMIN_PASSWORD_FILE", "")]).fails("set", &values, 78, "ADMIN_PASSWORD_FILE is not");
    of(&[("USERS", "")]).fails("create", &values, 78, "USERS has no entry");
    of(&[]).binding("USERS", "app,asleep").fails("create", &values, 78, "more than one user");
    for bare in ["app", "app,asleep", ":app", "*", "prod/db/web.example:", "prod/db/web.example:app:b", "p/x:a b"] {
        of(&[("USERS", bare)]).fails("create", &values, 78, "USERS is not of entries INSTANCE/NAME:USER");
    }
    of(&[("USERS", "prod/db/web.example:app prod/db/web.example:b")]).fails("create", &values, 78, "two entries");
    of(&[("ADMIN_USER", ""), ("ADMIN_PASSWORD_FILE", "")]).fails("set", &values, 1, "NOAUTH");
    of(&[("REDIS_SOCKET", ""), ("REDIS_PORT", "1")]).fails(
        "set",
        &values,
        1,
        "Could not connect to Redis at 127.0.0.1:1",
    );
    of(&[("REDIS_SOCKET", "/nowhere")]).fails("test", &values, 1, "Could not connect to Redis at /nowhere");
    assert!(redis.lets_in("app", "app-older-password"), "nothing has changed");
    redis = Redis::start(USERS, false);
    super::redis::function(&redis).with("PERSIST", "acl-file").fails("set", &values, 78, "PERSIST=config");
    assert!(redis.lets_in("app", "app-older-password"), "nothing has changed");
}
