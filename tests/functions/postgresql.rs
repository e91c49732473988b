//! `postgresql` on a PostgreSQL: one role, two roles in turn, and who may not be touched.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::call::{Function, STEPS};
use crate::secret::Values;
use crate::services::Postgres;

/// Rotations over which a client logs in.
const ROTATIONS: usize = 6;
/// What is written into the `username` of a secret by somebody who would like to have more than its role.
const FOREIGN: [&str; 14] = [
    "",
    "postgres",
    "bystander",
    "App",
    "app\n",
    "app\nbystander",
    "app,app_clone",
    "app\" SUPERUSER; --",
    "app'; ALTER ROLE app SUPERUSER; --",
    "\\password postgres",
    "$(touch /tmp/kmsfs-injected)`touch /tmp/kmsfs-injected`",
    "app\\",
    "\u{e4}pp",
    "-c DROP ROLE bystander",
];

/// A server with the roles that tests need, each with a password of its name.
fn server() -> Postgres {
    let postgres = Postgres::start();
    for role in ["app", "app_clone", "bystander"] {
        postgres.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD '{role}-old-password'"));
    }
    postgres
}

pub fn function(postgres: &Postgres) -> Function {
    let port = postgres.port.to_string();
    Function::shipped("postgresql").with_path("PGHOST", postgres.dir.path()).with("PGPORT", port)
}

/// A server with `app`, and the function that may change it.
pub fn with_app() -> (Postgres, Function, Values) {
    let postgres = server();
    let function = function(&postgres).binding("ROLES", "app");
    (postgres, function, Values::of_members("app", "app-old-password"))
}

/// All password verifiers, which change with each change of a password, and what roles may.
fn roles(postgres: &Postgres) -> String {
    postgres.sql("SELECT rolname, rolsuper, rolcanlogin, rolpassword FROM pg_authid ORDER BY 1")
}

#[test]
fn a_role_gets_a_new_password_that_no_log_has() {
    let (postgres, function, mut values) = with_app();
    values.create(&function);
    assert_eq!(Values::member(&values.new, "host"), "db", "it is kept");
    assert_eq!(Values::member(&values.new, "username"), "app");
    let new = Values::member(&values.new, "password");
    assert!(postgres.lets_in("app", "app-old-password"), "create changes nothing");
    // `set` and all that follows, twice: each is carried out already the second time.
    for _ in 0..2 {
        for step in ["set", "test", "finish"] {
            assert_eq!(function.done(step, &values), "");
        }
    }
    assert!(postgres.lets_in("app", &new) && !postgres.lets_in("app", "app-old-password"), "as the page says");
    let log = postgres.log();
    assert!(log.contains("statement: ALTER USER app PASSWORD 'SCRAM-SHA-256$4096:"), "{log}");
    assert!(!log.contains(&new), "in clear in the log");
    let counted = postgres.sql("SELECT query FROM pg_stat_statements");
    assert!(counted.contains("ALTER USER app PASSWORD") && !counted.contains(&new), "{counted}");
    // Whatever the server prefers, it never gets less than SCRAM.
    postgres.sql("ALTER SYSTEM SET password_encryption = 'md5'");
    postgres.sql("SELECT pg_reload_conf()");
    function.done("set", &values);
    assert!(postgres.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'").starts_with("SCRAM-SHA-256$"));
}

/// A client that takes the current version, and logs in with it, never fails: neither with the newest nor with the one before.
#[test]
fn of_two_roles_one_is_always_valid() {
    let postgres = server();
    let function = function(&postgres).binding("USERS", "app,app_clone");
    let current = Mutex::new(Values::of_members("app", "app-old-password"));
    let (logins, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failures = thread::scope(|scope| {
        let ends = Ends(&over);
        let client = scope.spawn(|| {
            let mut failures = Vec::new();
            while !over.load(Ordering::SeqCst) {
                let values = current.lock().unwrap().clone();
                let versions = [Some(&values.old), Some(&values.before).filter(|before| !before.is_empty())];
                for version in versions.into_iter().flatten() {
                    let [user, password] = ["username", "password"].map(|name| Values::member(version, name));
                    // It counts only if the version was one of the two also at its end: a client may be slower than a rotation.
                    let got_in = postgres.lets_in(&user, &password);
                    let now = current.lock().unwrap();
                    let still = *version == now.old || (*version == now.before && now.new.is_empty());
                    if !got_in && still {
                        failures.push(user);
                    }
                }
                logins.fetch_add(1, Ordering::SeqCst);
            }
            failures
        });
        let mut users = Vec::new();
        for _ in 0..ROTATIONS {
            let mut values = current.lock().unwrap().clone();
            values.create(&function);
            users.push(Values::member(&values.new, "username"));
            // From here on the version before is on its last legs: `new` says so to the client.
            current.lock().unwrap().new = values.new.clone();
            for step in ["set", "test"] {
                function.done(step, &values);
            }
            *current.lock().unwrap() = values.clone().promoted();
            function.done("finish", &values);
            // Two whole rounds of the client between two rotations, so that all of them have been seen by it.
            let seen = logins.load(Ordering::SeqCst);
            while logins.load(Ordering::SeqCst) < seen + 2 && !client.is_finished() {
                thread::yield_now();
            }
        }
        drop(ends);
        assert_eq!(users, ["app_clone", "app", "app_clone", "app", "app_clone", "app"]);
        client.join().unwrap()
    });
    assert_eq!(failures, Vec::<String>::new());
    assert!(logins.into_inner() >= 2 * ROTATIONS);
}

/// Tells the client to end, also where the test does because it failed.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn only_declared_roles_are_touched_whatever_the_secret_says() {
    let postgres = server();
    let before = roles(&postgres);
    let single = function(&postgres).binding("ROLES", "app");
    let pair = function(&postgres).binding("USERS", "app,app_clone");
    for username in FOREIGN {
        let mut values = Values::of_members(username, "app-old-password");
        values.new = values.old.clone();
        for step in ["create", "set"] {
            single.fails(step, &values, 78, "`username`");
        }
    }
    pair.fails("create", &Values::of_members("bystander", "app-old-password"), 78, "`username`");
    assert_eq!(roles(&postgres), before, "nothing has changed");
    assert!(!std::path::Path::new("/tmp/kmsfs-injected").exists());
}

/// Whoever may write one of two secrets gets at nothing of the other one's by it.
#[test]
fn no_secret_takes_the_role_of_another_one() {
    let postgres = server();
    let before = roles(&postgres);
    let single = "prod/db/a=b:app prod/db/a:bystander";
    let pairs = "prod/db/a=b:app,app_clone prod/db/a:bystander,reports";
    for (setting, entries) in [("ROLES", single), ("USERS", pairs)] {
        let of = |secret: &str| function(&postgres).with(setting, entries).rotating(secret);
        for (secret, own, others) in [("prod/db/a=b", "app", "bystander"), ("prod/db/a", "bystander", "app")] {
            let mut values = Values::of_members(others, "another-password");
            values.new = values.old.clone();
            for step in ["create", "set", "test"] {
                of(secret).fails(step, &values, 78, "`username`");
            }
            Values::of_members(own, "another-password").create(&of(secret));
        }
        let mut values = Values::of_members("app", "another-password");
        values.new = values.old.clone();
        for secret in ["prod/db/b", "prod/db/a=", "prod/db/*", "db/a", "prod/db/a=b/c"] {
            for step in STEPS {
                of(secret).fails(step, &values, 78, "has no entry for this secret");
            }
        }
    }
    assert_eq!(roles(&postgres), before, "nothing has changed");
}

#[test]
fn odd_values_are_refused_and_odd_passwords_are_replaced() {
    let postgres = server();
    let before = roles(&postgres);
    let single = function(&postgres).binding("ROLES", "app");
    let odd: [&[u8]; 9] = [
        b"",
        b"app",
        b"null",
        b"[]",
        b"\"app\"",
        b"{\"username\":7}",
        b"{\"username\":\"app\"",
        b"\xff\xfe{}",
        br#"{"username":"app"} {"username":"app"}"#,
    ];
    for value in odd {
        single.fails("create", &Values::of(value), 78, "`username`");
        single.fails("set", &Values { new: value.to_vec(), ..Values::default() }, 78, "`username`");
    }
    for password in ["", "a b", "a\nb", "p\u{e4}ssword"] {
        let mut values = Values::of_members("app", "app-old-password");
        values.new = Values::of_members("app", password).old;
        single.fails("set", &values, 78, "`password`");
    }
    assert_eq!(roles(&postgres), before, "nothing has changed");
    // An old password is nobody's business here.
    let mut values = Values::of_members("app", "'; \"\\ $(id) `id` \n \u{1f511}");
    values.create(&single);
    single.done("set", &values);
    // A new one that somebody else made is taken to the byte.
    values.new = Values::of_members("app", r#"'"\$(id)`id`;--%s!\n"#).old;
    single.done("set", &values);
    single.done("test", &values);
    assert!(postgres.lets_in("app", r#"'"\$(id)`id`;--%s!\n"#));
}

/// What `test` would fail for is found before `set` ends the old password.
#[test]
fn what_cannot_be_done_is_said_before_anything_changes() {
    let (postgres, function, mut values) = with_app();
    values.create(&function);
    let before = roles(&postgres);
    let shipped = |settings: &[(&str, &str)]| {
        settings
            .iter()
            .fold(super::postgresql::function(&postgres), |function, (name, value)| function.with(name, value))
    };
    let app = ("ROLES", "prod/db/web.example:app");
    let database = shipped(&[app, ("TEST_DATABASE", "nowhere")]);
    database.fails("set", &values, 78, "has no database TEST_DATABASE");
    shipped(&[app, ("TEST_PORT", "1")]).fails("set", &values, 1, "Connection refused");
    shipped(&[app, ("PGHOST", "/nowhere")]).fails("set", &values, 1, "cannot look at the role app");
    shipped(&[]).fails("create", &values, 78, "either ROLES or USERS");
    shipped(&[app, ("USERS", "prod/db/web.example:app,b")]).fails("create", &values, 78, "either ROLES or USERS");
    shipped(&[app, ("LENGTH", "15")]).fails("create", &values, 78, "LENGTH");
    for odd in ["app", "app,", ",app", "app,app", "app,b,c", "app,,b"] {
        shipped(&[]).binding("USERS", odd).fails("create", &values, 78, "two different roles");
    }
    shipped(&[]).binding("ROLES", "app,reports").fails("create", &values, 78, "more than one role");
    for bare in ["app", "app,app_clone", ":app", "*", "prod/db/web.example:", "prod/db/web.example:app:b", "p/x:a b"] {
        for setting in ["ROLES", "USERS"] {
            shipped(&[(setting, bare)]).fails("create", &values, 78, "is not of entries INSTANCE/NAME:ROLE");
        }
    }
    let twice = "prod/db/web.example:app prod/db/web.example:reports";
    shipped(&[("ROLES", twice)]).fails("create", &values, 78, "two entries");
    let mut gone = Values::of_members("reports", "app-old-password");
    gone.new = gone.old.clone();
    shipped(&[]).binding("ROLES", "reports").fails("set", &gone, 78, "there is no role reports");
    assert_eq!(roles(&postgres), before);
    for (change, back, words) in
        [("NOLOGIN", "LOGIN", "may not log in"), ("VALID UNTIL '2020-01-01'", "VALID UNTIL 'infinity'", "VALID UNTIL")]
    {
        postgres.sql(&format!("ALTER ROLE app {change}"));
        function.fails("set", &values, 78, words);
        postgres.sql(&format!("ALTER ROLE app {back}"));
    }
    function.fails("test", &values, 1, "password authentication failed for user \"app\"");
    assert!(postgres.lets_in("app", "app-old-password"));
    // A server that lets everybody in would make `test` say yes to anything.
    let hba = postgres.dir.path().join("data/pg_hba.conf");
    std::fs::write(&hba, "local all postgres peer\nhost all all 127.0.0.1/32 trust\n").unwrap();
    postgres.sql("SELECT pg_reload_conf()");
    function.fails("set", &values, 78, "needs no password");
}

/// An administrator elsewhere logs in with a password, by libpq's own settings.
#[test]
fn a_wrong_password_of_the_administrator_is_told() {
    let (postgres, function, mut values) = with_app();
    postgres.sql("CREATE ROLE rotator LOGIN CREATEROLE PASSWORD 'rotator-password'");
    let file = postgres.dir.path().join("pgpass");
    let function = function.with("PGUSER", "rotator").with_path("PGPASSFILE", &file);
    let password = |word: &str| {
        std::fs::write(&file, format!("*:*:*:*:{word}\n")).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        crate::services::Account::named("postgres").owns(&file);
    };
    password("wrong-password");
    values.create(&function);
    function.fails("set", &values, 1, "password authentication failed for user \"rotator\"");
    password("rotator-password");
    for step in ["set", "test", "finish"] {
        function.done(step, &values);
    }
}
