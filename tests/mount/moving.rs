//! Moving in and out: what is imported from where people have their secrets now, and what is exported.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use serde_json::Value as Json;

use crate::harness::{KMSFS, Mount, run, text};

impl Mount {
    /// `kmsfs SCRIPT` in the mount's root, by a shell.
    fn kmsfs(&self, script: &str) -> Output {
        self.bash(&format!("{KMSFS} {script}"))
    }

    #[track_caller]
    fn done(&self, script: &str) -> String {
        squeeze(&self.ok(&format!("{KMSFS} {script}")))
    }

    /// It fails with 1, says `words` and a hint; what it printed.
    #[track_caller]
    fn refused(&self, script: &str, words: &str) -> String {
        let said = self.kmsfs(script);
        let err = text(&said.stderr);
        assert_eq!(said.status.code(), Some(1), "{script}: {}{err}", text(&said.stdout));
        assert!(err.contains(words) && err.contains("kmsfs: hint: "), "{script}: {err}");
        squeeze(&text(&said.stdout))
    }

    /// A file beside the mount.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn exported(&self, script: &str) -> Json {
        serde_json::from_str(&self.done(script)).unwrap()
    }
}

/// A table with one blank between its columns.
fn squeeze(table: &str) -> String {
    if !table.starts_with("WHAT ") {
        return table.to_owned();
    }
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n";
    table.lines().map(line).collect()
}

#[test]
fn a_dotenv_file_is_imported() {
    let mount = Mount::new();
    mount.file("env", "# for the web\nexport DB_URL=postgres://u:p@h/d # main\nKEY=\"one\\ntwo\"\nPLAIN='a $b'\n");
    let import = "import --from dotenv $OUT/env --to prod/web";
    let said = mount.done(&format!("{import} --dry-run"));
    for line in ["create prod/web/DB_URL", "create prod/web/KEY", "create prod/web/PLAIN"] {
        assert!(said.contains(line), "{said}");
    }
    assert!(!said.contains("postgres") && !mount.path("prod/web").exists(), "{said}");
    assert!(mount.done(import).ends_with("imported 3, unchanged 0, skipped 0\n"));
    assert_eq!(mount.read("prod/web/DB_URL/current"), "postgres://u:p@h/d");
    assert_eq!(mount.read("prod/web/KEY/current"), "one\ntwo");
    assert_eq!(mount.read("prod/web/PLAIN/current"), "a $b");
    // Again: nothing to do, and nothing is done.
    assert!(mount.done(import).ends_with("imported 0, unchanged 3, skipped 0\n"));
    assert_eq!(mount.names("prod/web/KEY/versions"), ["v1"]);
    // Another value is a question.
    mount.file("env", "KEY=three\nNEW=4\n");
    let said = mount.refused(import, "1 of 2 secrets cannot be imported");
    assert!(said.contains("refused prod/web/KEY") && said.contains("it is there with another value"), "{said}");
    assert!(!mount.path("prod/web/NEW").exists());
    assert!(mount.done(&format!("{import} --skip-existing")).ends_with("imported 1, unchanged 0, skipped 1\n"));
    assert_eq!(mount.read("prod/web/KEY/current"), "one\ntwo");
    assert!(mount.done(&format!("{import} --overwrite")).ends_with("imported 1, unchanged 1, skipped 0\n"));
    assert_eq!(mount.read("prod/web/KEY/current"), "three");
    assert_eq!(mount.read("prod/web/KEY/versions/v1"), "one\ntwo");
    mount.file("env", "A=1\nB='2");
    mount.refused(import, "env: line 2: the quote is not closed");
    mount.file("env", "A=1\nA=2\nEMPTY=\n");
    let said = mount.refused(&format!("{import} --json"), "2 of 3 secrets cannot be imported");
    let said: Json = serde_json::from_str(&said).unwrap();
    assert_eq!(said["carried_out"], Json::Null);
    let problems: Vec<_> = said["plan"].as_array().unwrap().iter().map(|planned| &planned["problem"]).collect();
    assert_eq!(problems[0], &Json::Null);
    assert!(problems[1].as_str().unwrap().contains("has a secret of this name, too"));
    assert!(problems[2].as_str().unwrap().contains("at least one byte"));
    mount.done(&format!("{import} --skip-refused < /dev/null"));
    assert_eq!(mount.read("prod/web/A/current"), "1");
}

#[test]
fn a_directory_of_files_is_imported() {
    let mount = Mount::new();
    let bytes: Vec<u8> = (0..=255).collect();
    for (name, content) in [("in/db/password", &b"p\n"[..]), ("in/tls.key", &bytes), ("in/.git/x", b"x")] {
        mount.file(name, content);
    }
    let import = "import --from dir $OUT/in --to prod/app";
    let said = mount.done(import);
    assert!(said.contains(".git it is hidden") && said.ends_with("imported 2, unchanged 0, skipped 0\n"), "{said}");
    assert_eq!(fs::read(mount.path("prod/app/tls.key/current")).unwrap(), bytes);
    assert_eq!(mount.read("prod/app/db/password/current"), "p\n");
    // Names that cannot be, and values.
    for (name, content) in
        [("in/a b", &b"x"[..]), ("in/db/current", b"x"), ("in/x/ä", b"x"), ("in/large", &[7; 30_721])]
    {
        mount.file(name, content);
    }
    let said = mount.refused(import, "4 of 6 secrets cannot be imported");
    assert!(said.contains("is longer than 30720 bytes"), "{said}");
    assert_eq!(mount.names("prod/app"), ["db", "tls.key"], "nothing of it");
    let said = mount.done(&format!("{import} --rename ' =-' --rename ä=ae --rename current=now --skip-refused"));
    assert!(said.ends_with("imported 3, unchanged 2, skipped 1\n"), "{said}");
    assert_eq!(mount.names("prod/app"), ["a-b", "db", "tls.key", "x"]);
    assert_eq!(mount.names("prod/app/db"), ["now", "password"]);
    // Where it goes is looked at first.
    mount.refused("import --from dir $OUT/in --to none/app", "there is no instance");
    mount.refused("import --from dir $OUT/in --to .", "is a whole mount");
    mount.refused("import --from dir $OUT/in --to prod/.deleted", "no instance and no secret");
    let said = mount.kmsfs("import --from dir $OUT/none --to prod");
    assert!(said.status.code() == Some(1) && text(&said.stderr).contains("No such file"));
    let said = mount.kmsfs("import --from dir $OUT/in --to $OUT/in");
    assert_eq!(said.status.code(), Some(10), "{}", text(&said.stderr));
    mount.ok("mkdir prod/old; printf x > prod/old/current; rm -r prod/old; mkdir $OUT/in2; printf y > $OUT/in2/old");
    let said = mount.refused("import --from dir $OUT/in2 --to prod", "1 of 1 secrets");
    assert!(said.contains("scheduled for deletion"), "{said}");
}

/// The real `pass`, with a key of its own.
#[test]
fn a_password_store_of_pass_is_imported() {
    let mount = Mount::new();
    let set_up = r#"
        export GNUPGHOME=$OUT/gnupg PASSWORD_STORE_DIR="$OUT/pass word"; mkdir -m 700 "$GNUPGHOME"
        gpg --batch --quiet --passphrase '' --quick-generate-key test@example.org
        pass init test@example.org
        echo secret | pass insert --echo web/site
        printf 'first\nuser: u\n' | pass insert --multiline mail/main
        printf 'no newline' | pass insert --multiline plain
        ln -s plain.gpg "$PASSWORD_STORE_DIR/link.gpg"; echo x > "$PASSWORD_STORE_DIR/README""#;
    let said = mount.bash(&format!("set -e; {set_up}"));
    assert!(said.status.success(), "pass and gpg are needed; see scripts/test-packages: {}", text(&said.stderr));
    let said = mount.ok(&format!(
        "export GNUPGHOME=$OUT/gnupg; {KMSFS} import --from pass \"$OUT/pass word\" --to prod/pass; gpgconf --kill all"
    ));
    assert!(said.ends_with("imported 3, unchanged 0, skipped 0\n"), "{said}");
    for words in ["it is a symbolic link", "it is no entry of pass", "it has several lines", ".gpg-id"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(mount.read("prod/pass/web/site/current"), "secret");
    assert_eq!(mount.read("prod/pass/mail/main/current"), "first\nuser: u\n");
    assert_eq!(mount.read("prod/pass/plain/current"), "no newline");
    // Without the key: an error that names the entry, and nothing of it.
    let said = mount.refused("import --from pass \"$OUT/pass word\" --to prod/other 2>&1 >/dev/null | tee /dev/stderr; exit ${PIPESTATUS[0]}", "pass cannot show");
    assert!(said.contains("mail/main") && !mount.path("prod/other").exists(), "{said}");
}

#[test]
fn what_aws_prints_is_imported() {
    let mount = Mount::new();
    mount.file(
        "aws.json",
        r#"{"SecretValues": [
            {"Name": "db/main", "VersionId": "11111111-aaaa", "SecretString": "{\"password\":\"p\"}", "VersionStages": ["AWSCURRENT"]},
            {"Name": "db/main", "VersionId": "22222222-bbbb", "SecretString": "before", "VersionStages": ["AWSPREVIOUS", "mine"]},
            {"Name": "/app/tls", "VersionId": "33333333-cccc", "SecretBinary": "/wA=", "VersionStages": ["AWSCURRENT"]}], "Errors": []}
           {"Name": "db/main", "Description": "the database", "Tags": [{"Key": "env", "Value": "prod"}, {"Key": "o w", "Value": ""}]}"#,
    );
    let import = "import --from aws $OUT/aws.json --to prod";
    let said = mount.refused(import, "1 of 2 secrets");
    assert!(said.contains("its tag o w is left out"), "{said}");
    mount.done(&format!("{import} --rename /app/=app/"));
    assert_eq!(mount.read("prod/db/main/current"), r#"{"password":"p"}"#);
    assert_eq!(mount.names("prod/db/main/versions"), ["11111111-aaaa", "22222222-bbbb"]);
    let label = |name: &str| mount.path(&format!("prod/db/main/stages/{name}")).read_link().unwrap();
    assert_eq!(label("ACSPrevious"), std::path::Path::new("../versions/22222222-bbbb"));
    assert_eq!(label("mine"), std::path::Path::new("../versions/22222222-bbbb"));
    assert_eq!(mount.read("prod/db/main/tags"), "env=prod\n");
    assert_eq!(mount.read("prod/db/main/description"), "the database\n");
    assert_eq!(fs::read(mount.path("prod/app/tls/current")).unwrap(), [0xff, 0]);
    let said = mount.done(&format!("{import} --rename /app/=app/"));
    assert!(said.ends_with("imported 0, unchanged 2, skipped 0\n"), "{said}");
}

#[test]
fn what_vault_prints_is_imported() {
    let mount = Mount::new();
    let answer = r#"{"request_id": "x", "data": {"data": {"user": "u", "password": "p"},
        "metadata": {"version": 3, "custom_metadata": {"owner": "me"}, "destroyed": false}}, "warnings": null}"#;
    mount.file("main.json", answer);
    mount.file(
        "all.json",
        format!(r#"{{"db/a": {answer}, "db/gone": {{"data": {{"data": null, "metadata": {{"version": 1}}}}}}}}"#),
    );
    let said = mount.done("import --from vault $OUT/main.json $OUT/all.json --to prod/kv");
    assert!(said.contains("db/gone this version of it is deleted"), "{said}");
    for secret in ["main", "db/a"] {
        assert_eq!(mount.read(&format!("prod/kv/{secret}/versions/v3")), r#"{"user":"u","password":"p"}"#);
        assert_eq!(mount.read(&format!("prod/kv/{secret}/tags")), "owner=me\n");
    }
    mount.ok(&format!("{KMSFS} import --from vault - --to prod/piped < $OUT/all.json"));
    assert_eq!(mount.names("prod/piped/db"), ["a"]);
}

/// A secret that is refused stops it there; the same command then goes on.
#[test]
fn an_import_that_failed_goes_on() {
    let mount = Mount::new();
    let secret = |name: &str| {
        format!(
            r#"{{"Name": "{name}", "VersionId": "v1", "SecretString": "x"}}{{"Name": "{name}", "Tags": [{{"Key": "k", "Value": "v"}}]}}"#
        )
    };
    mount.file("aws.json", ["a", "b", "c"].map(secret).join("\n"));
    // It has the tags that a secret may have, so that one more is refused.
    mount.secret("prod/b", "x");
    mount.ok("for n in $(seq 20); do echo t$n=x; done > prod/b/tags");
    let import = "import --from aws $OUT/aws.json --to prod";
    let said = mount.refused(import, "prod/b was not imported: ");
    assert!(said.contains("go on prod/b"), "{said}");
    assert!(
        said.ends_with("imported 1, unchanged 0, skipped 0\nnot imported: prod/b\nnot imported: prod/c\n"),
        "{said}"
    );
    assert!(mount.path("prod/a/current").exists() && !mount.path("prod/c").exists());
    mount.ok("echo t1=x > prod/b/tags");
    assert!(mount.done(import).ends_with("imported 2, unchanged 1, skipped 0\n"));
    assert_eq!(mount.read("prod/b/tags"), "k=v\nt1=x\n");
}

/// All that an export has, by name.
fn secrets(export: &Json) -> BTreeMap<String, Json> {
    assert_eq!((&export["format"], &export["version"]), (&"kmsfs export".into(), &1.into()));
    let secrets = export["secrets"].as_array().unwrap().iter();
    secrets
        .map(|secret| (format!("{}/{}", secret["instance"], secret["name"]).replace('"', ""), secret.clone()))
        .collect()
}

#[test]
fn what_is_exported_can_be_imported() {
    let mount = Mount::new();
    mount.ok(r#"
        mkdir -p other/x prod/db/password prod/db/deep/er prod/draft prod/gone
        for v in one two three; do printf "$v\n\"\\" > prod/db/password/versions/$v; done
        ln -s ../versions/one prod/db/password/stages/canary
        ln -sfn ../versions/two prod/db/password/stages/ACSCurrent
        echo env=prod > prod/db/password/tags; echo 'a "text"' > prod/db/password/description
        printf '\377\0' > prod/db/deep/er/current; printf x > other/x/current
        printf x > prod/gone/current; echo k=v > prod/gone/tags; rm -r prod/gone"#);
    let export = mount.exported("export --plaintext - . | cat");
    let found = secrets(&export);
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["other/x", "prod/db/deep/er", "prod/db/password", "prod/gone"]);
    let password = &found["prod/db/password"];
    let ids: Vec<_> =
        password["versions"].as_array().unwrap().iter().map(|version| version["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["one", "two", "three"]);
    assert_eq!(password["versions"][1]["text"], "two\n\"\\");
    assert_eq!(password["versions"][1]["stages"], serde_json::json!(["ACSCurrent"]));
    assert_eq!((&password["tags"]["env"], &password["description"]), (&"prod".into(), &"a \"text\"".into()));
    assert_eq!(found["prod/db/deep/er"]["versions"][0]["base64"], "/wA=");
    assert_eq!(found["prod/gone"]["tags"]["k"], "v");
    assert!(found["prod/gone"]["deletion"]["planned"].as_str().unwrap().ends_with('Z'));
    // To a file, of its owner alone.
    assert!(mount.done("export --plaintext $OUT/out . ").starts_with("exported 4 secrets"));
    assert_eq!(fs::metadata(mount.dir.path().join("out")).unwrap().permissions().mode() & 0o7777, 0o600);
    mount.refused("export --plaintext $OUT/out .", "is there already");
    // Into another mount it comes back, but for times and what was deleted.
    let there = Mount::new();
    there.ok("rmdir prod 2>/dev/null || :");
    fs::copy(mount.dir.path().join("out"), there.dir.path().join("in")).unwrap();
    let said = there.done("import --from kmsfs $OUT/in --to .");
    assert!(
        said.contains("gone it was scheduled for deletion") && said.ends_with("imported 3, unchanged 0, skipped 0\n"),
        "{said}"
    );
    let strip = |export: &Json| {
        let mut found = secrets(export);
        found.remove("prod/gone");
        for secret in found.values_mut() {
            let versions = secret["versions"].as_array_mut().unwrap();
            versions.iter_mut().for_each(|version| version["created"] = Json::Null);
            versions.sort_by_key(|version| version["id"].to_string());
        }
        found
    };
    let mut before = strip(&export);
    let after = strip(&there.exported("export --plaintext - . | cat"));
    assert_eq!(before, after);
    assert!(there.done("import --from kmsfs $OUT/in --to .").ends_with("imported 0, unchanged 3, skipped 0\n"));
    // A part of it, only what is current, below another name.
    there.done("export --plaintext $OUT/part --current prod/db");
    there.done("import --from kmsfs $OUT/part --to other/copy");
    assert_eq!(there.read("other/copy/db/password/current"), "two\n\"\\");
    assert_eq!(there.names("other/copy/db/password/versions"), ["two"]);
    before.clear();
}

/// It says `--plaintext`, or it is not done; never to a terminal; and only what the caller may read.
#[test]
fn an_export_is_what_the_caller_may_read_and_asked_for() {
    let mount = Mount::new();
    fs::set_permissions(mount.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    mount.ok("mkdir -p prod/mine prod/theirs prod/hidden/x; for s in mine theirs hidden/x; do printf $s > prod/$s/current; done");
    mount.ok("chown 1000:1000 prod/mine; chmod 755 prod/theirs; chmod 600 prod/theirs/current; chmod 700 prod/hidden");
    assert_eq!(mount.kmsfs("export .").status.code(), Some(2), "usage");
    let said = mount.ok(&format!("script -qec '{KMSFS} export --plaintext - .' /dev/null </dev/null || :"));
    assert!(said.contains("plaintext does not go to a terminal") && !said.contains("theirs"), "{said}");
    run(Command::new("cp").arg(KMSFS).arg(mount.dir.path().join("kmsfs")));
    let drop = ["--reuid=1000", "--regid=1000", "--clear-groups", "../kmsfs", "export", "--plaintext", "-", "prod"];
    let said = Command::new("setpriv").args(drop).current_dir(mount.root()).output().unwrap();
    assert_eq!(said.status.code(), Some(1), "{}", text(&said.stderr));
    let found = secrets(&serde_json::from_slice(&said.stdout).unwrap());
    assert_eq!(found.keys().collect::<Vec<_>>(), ["prod/mine"]);
    let err = text(&said.stderr);
    for path in ["prod/theirs: Permission denied", "prod/hidden: Permission denied", "not in the export"] {
        assert!(err.contains(path), "{path}: {err}");
    }
}
