//! What is in the tree, and what it looks like.

use crate::harness::Mount;

fn secret() -> Mount {
    let mount = Mount::new();
    mount.secret("prod/db/password", "one");
    mount
}

#[test]
fn everything_can_be_found_by_ls() {
    let mount = secret();
    assert_eq!(mount.names(""), [".kmsfs", "prod"]);
    assert_eq!(mount.names(".kmsfs"), ["api", "backup", "events", "last-error", "metrics", "status"]);
    assert_eq!(mount.names("prod"), [".deleted", ".instance", ".keys", "db"]);
    assert_eq!(mount.names("prod/.instance"), ["access-quota", "info", "recovery-window", "shares", "state"]);
    assert_eq!(mount.names("prod/.keys/default"), ["info", "policy", "state"]);
    assert_eq!(mount.names("prod/db"), ["password"], "a directory of directories lists those");
    let entries =
        ["cmk", "current", "description", "fields", "info", "policy", "rotation", "stages", "tags", "versions"];
    assert_eq!(mount.names("prod/db/password"), entries);
    assert_eq!(mount.ok("ls -U prod/db/password | head -1"), "current\n", "first in readdir order");
    mount.ok("mkdir prod/draft");
    assert_eq!(mount.names("prod/draft"), entries.into_iter().filter(|entry| *entry != "current").collect::<Vec<_>>());
    assert_eq!(mount.read("prod/db/cmk"), "default\n", "entries of a directory open by name");
    mount.ok("echo parent > prod/db/current");
    assert_eq!(mount.names("prod/db").len(), 11, "a secret may have secrets below it");
    mount.ok("rm -r prod/db/password");
    assert_eq!(mount.names("prod/.deleted"), ["db%2Fpassword"]);
    assert_eq!(mount.names("prod/.deleted/db%2Fpassword"), ["info", "state"]);
}

#[test]
fn everything_can_be_understood_by_cat() {
    let mount = secret();
    for file in [
        "prod/.instance/info",
        "prod/.keys/default/info",
        "prod/db/password/info",
        "prod/db/password/policy",
        ".kmsfs/status",
        ".kmsfs/last-error",
    ] {
        let text = mount.read(file);
        let json: Result<serde_json::Value, _> = serde_json::from_str(&text);
        assert!(json.is_ok() && text.ends_with("}\n"), "{file}: {text}");
    }
    for (file, text) in [
        ("prod/.instance/recovery-window", "30\n"),
        ("prod/.keys/default/state", "Enabled\n"),
        ("prod/db/password/cmk", "default\n"),
        ("prod/db/password/tags", ""),
        ("prod/db/password/description", ""),
    ] {
        assert_eq!(mount.read(file), text, "{file}");
    }
    let info: serde_json::Value = serde_json::from_str(&mount.read("prod/db/password/info")).unwrap();
    assert_eq!((info["SecretName"].as_str(), info["DKMSInstanceId"].as_str()), (Some("db/password"), Some("prod")));
    assert_eq!(info["PlannedDeleteTime"], "");
    assert!(info["Arn"].as_str().unwrap().ends_with(":secret/db/password"));
}

#[test]
fn times_are_those_of_versions() {
    let mount = secret();
    let stat = |format: &str, file: &str| mount.ok(&format!("stat -c {format} prod/db/password/{file}"));
    let created = stat("%.9Y", "versions/v1");
    mount.ok("echo two > prod/db/password/current; ln -s ../versions/v1 prod/db/password/stages/x");
    assert_eq!(stat("%.9Y", "versions/v1"), created, "a version's time is its making");
    let rotated = stat("%.9Y", "current");
    assert_eq!(rotated, stat("%.9Y", "versions/v2"));
    mount.ok("ln -sfn ../versions/v1 prod/db/password/stages/ACSCurrent");
    assert!(stat("%.9Y", "current") > rotated, "a rollback is a rotation");
    mount.ok("touch -d 2000-01-01 prod/db/password/current; cp -p prod/db/password/current $OUT/f");
    assert!(stat("%.9Y", "current") > rotated, "times cannot be set");
}

#[test]
fn values_say_what_they_are() {
    let mount = secret();
    mount.ok("printf '\\377\\376' > prod/db/password/current");
    let attribute = |file: &str, name: &str| {
        mount.ok(&format!(
            "python3 -c \"import os; print(os.getxattr('prod/db/password/{file}', 'user.kmsfs.{name}').decode())\""
        ))
    };
    assert_eq!(attribute("current", "version"), "v2\n");
    assert_eq!(attribute("versions/v1", "stages"), "ACSPrevious\n");
    assert_eq!(attribute("current", "data-type"), "binary\n");
    assert_eq!(attribute("versions/v1", "data-type"), "text\n");
    assert!(attribute("current", "arn").starts_with("acs:kms:local:"));
    let listed = mount.ok("python3 -c \"import os; print(os.listxattr('prod/db/password/current'), os.listxattr('prod/db/password/tags'))\"");
    assert_eq!(listed, "['user.kmsfs.version', 'user.kmsfs.stages', 'user.kmsfs.data-type', 'user.kmsfs.arn'] []\n");
}

#[test]
fn values_are_byte_exact() {
    let mount = secret();
    for bytes in [&b"\n"[..], b"\0", b"a\0b\r\n", "ä€😀".as_bytes(), b"\xff\xfe\x00", b" v ", b"v\n\n"] {
        mount.write("prod/db/password/current", bytes);
        assert_eq!(std::fs::read(mount.path("prod/db/password/current")).unwrap(), bytes);
        assert_eq!(std::fs::metadata(mount.path("prod/db/password/current")).unwrap().len(), bytes.len() as u64);
    }
}

#[test]
fn statfs_and_status_answer() {
    let mount = secret();
    mount.ok("df prod && df -i prod && findmnt -n -o FSTYPE,OPTIONS . | grep -q 'fuse.*nosuid.*nodev.*noexec'");
    let status: serde_json::Value = serde_json::from_str(&mount.read(".kmsfs/status")).unwrap();
    assert_eq!(status["health"], "ok");
    assert_eq!(status["counts"]["versions"], 1);
    assert_eq!(status["store"]["engine"], "sqlite");
}

#[test]
fn large_directories_are_listed_whole() {
    let mount = Mount::new();
    mount.ok("mkdir $(seq -f prod/n%04g 1500)");
    assert_eq!(mount.ok("ls prod | wc -l"), "1500\n");
    assert_eq!(mount.ok("ls -l prod | grep -c ^d"), "1500\n");
    assert_eq!(mount.ok("find prod -mindepth 1 -maxdepth 1 -name 'n*' | sort -u | wc -l"), "1500\n");
    // Removed while they are listed, none is left out.
    mount.ok("find prod -mindepth 1 -maxdepth 1 -name 'n*' -exec rmdir {} +");
    assert_eq!(mount.names("prod"), [".deleted", ".instance", ".keys"]);
}

/// Scratch files of tools are there for their maker, and nowhere else.
#[test]
fn scratch_files_are_never_stored() {
    let mut mount = secret();
    mount.ok("cd prod/db/password; echo x > .current.swp; echo y > new; cat .current.swp new; mv new newer; cat newer; ls -a | grep -q newer");
    mount.ok("echo z > prod/db/password/versions/.tmp; cat prod/db/password/versions/.tmp; rm prod/db/password/versions/.tmp");
    mount.restart();
    assert_eq!(
        mount.ok("ls -A prod/db/password | tr '\\n' ' '"),
        "cmk current description fields info policy rotation stages tags versions "
    );
    mount.ok("echo ided > prod/db/password/versions/sedation1");
    assert_eq!(mount.read("prod/db/password/current"), "ided\n", "a version may be named like a file of sed's");
}
