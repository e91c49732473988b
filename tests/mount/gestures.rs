//! Every gesture of the README's table, with the tool that people make it with.

use crate::harness::Mount;

/// A secret `s` with the versions v1 = `one` and v2 = `two`.
fn secret() -> Mount {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    mount.write("prod/s/versions/v2", "two");
    mount
}

/// Runs each script in the secret's directory of a mount of its own; `current` must then be what is expected.
fn writes_current(cases: &[(&str, &str)]) {
    for (script, current) in cases {
        let mount = secret();
        mount.ok(&format!("cd prod/s\n{script}"));
        assert_eq!(mount.read("prod/s/current"), *current, "{script}");
        assert_eq!(mount.read("prod/s/stages/ACSPrevious"), "two", "{script}: one write is one version");
        assert_eq!(mount.read("prod/s/versions/v1"), "one", "{script}: older versions stay");
        assert_eq!(mount.names("prod/.deleted"), [""; 0], "{script}");
        assert_eq!(
            mount.ok("find prod/s -name '.*' -o -name 'sed*' -o -name '*~'"),
            "",
            "{script}: leaves nothing behind"
        );
    }
}

#[test]
fn shells_write() {
    writes_current(&[
        ("printf %s new > current", "new"),
        ("echo new > current", "new\n"),
        ("printf %s new >| current", "new"),
        ("printf %s new > versions/v3", "new"),
        ("printf %s +more >> current", "two+more"),
        ("cat > current <<< new", "new\n"),
        ("echo new | cat > current", "new\n"),
        ("echo new | tee current > /dev/null", "new\n"),
        ("printf %s +more | tee -a current > /dev/null", "two+more"),
        ("exec 3> current; printf %s ne >&3; printf %s w >&3; exec 3>&-", "new"),
        ("(printf %s ne; /usr/bin/printf %s w) > current", "new"),
        ("printf %s Two 1<> current", "Two"),
    ]);
}

#[test]
fn other_shells_write() {
    for (shell, script) in [
        ("dash", "cd prod/s; echo new > current"),
        ("dash", "cd prod/s; printf new > versions/v3; echo >> current"),
        ("busybox", "x"),
    ] {
        let mount = secret();
        let output = if shell == "busybox" {
            mount.bash("cd prod/s; busybox sh -c 'echo new > current'")
        } else {
            mount.shell(shell, script)
        };
        assert!(output.status.success(), "{shell}: {script}");
        assert_eq!(mount.read("prod/s/current"), "new\n", "{shell}: {script}");
    }
}

#[test]
fn copies_and_moves_write() {
    writes_current(&[
        ("printf %s new > $OUT/f; cp $OUT/f current", "new"),
        ("printf %s new > $OUT/f; cp -f $OUT/f current", "new"),
        ("printf %s new > $OUT/f; cp --remove-destination $OUT/f current", "new"),
        ("printf %s new > $OUT/f; cp $OUT/f versions/v3", "new"),
        ("printf %s new > $OUT/f; cp versions/v2 $OUT/g; cp $OUT/f current", "new"),
        ("printf %s new > $OUT/f; mv $OUT/f current", "new"),
        ("printf %s new > $OUT/f; mv -f $OUT/f versions/v3", "new"),
        ("printf %s new > $OUT/f; install $OUT/f current", "new"),
        ("printf %s new > $OUT/f; install -m 600 $OUT/f current", "new"),
        ("printf %s new > $OUT/f; dd if=$OUT/f of=current status=none", "new"),
        ("printf %s new > $OUT/f; dd if=$OUT/f of=current bs=1 status=none", "new"),
        ("printf %s new > $OUT/f; dd if=$OUT/f of=versions/v3 conv=fsync status=none", "new"),
        ("printf %s new > $OUT/f; rsync -I $OUT/f current", "new"),
        ("printf %s new > $OUT/f; rsync -aI $OUT/f current", "new"),
        ("printf %s new > $OUT/f; rsync -I --inplace $OUT/f current", "new"),
        ("printf %s new > $OUT/f; rsync -a $OUT/f versions/v3", "new"),
        ("printf %s new > x.tmp; mv x.tmp current", "new"),
    ]);
}

/// A backup is a copy, and `current` stays: tools that count on its place being free give up, and nothing has changed.
#[test]
fn backups_by_cp_and_install_change_nothing() {
    for script in [
        "cp --backup=simple $OUT/f prod/s/current",
        "cp --backup=numbered $OUT/f prod/s/current",
        "install -b $OUT/f prod/s/current",
    ] {
        let mount = Mount::new();
        mount.secret("prod/s", "old");
        mount.ok("printf %s new > $OUT/f");
        assert!(mount.fails(script).contains("File exists"), "{script}");
        assert_eq!(mount.read("prod/s/current"), "old", "{script}");
        assert_eq!(mount.names("prod/s/versions"), ["v1"], "{script}");
    }
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    mount.ok("cd prod/s; mv current current.bak; echo new > current; mv current.bak current");
    assert_eq!(mount.read("prod/s/current"), "old", "a backup of what is no longer current is a value to go back to");
    assert_eq!(mount.names("prod/s/versions"), ["v1", "v2", "v3"]);
}

#[test]
fn editors_write() {
    writes_current(&[
        ("sed -i s/two/new/ current", "new"),
        ("vim -u NONE -es -c 's/two/new/' -c wq current < /dev/null", "new\n"),
        ("vim -u DEFAULTS -es -c 's/two/new/' -c wq current < /dev/null", "new\n"),
        (
            "vim -u NONE -es --cmd 'set backup writebackup backupcopy=no' -c 's/two/new/' -c wq current < /dev/null; rm -f current~",
            "new\n",
        ),
        (
            "vim -u NONE -es --cmd 'set backup writebackup backupcopy=yes' -c 's/two/new/' -c wq current < /dev/null; rm -f current~",
            "new\n",
        ),
        ("printf 's/two/new/\\nwq\\n' | ed -s current", "new\n"),
        ("perl -pi -e s/two/new/ current", "new"),
    ]);
}

#[test]
fn python_writes() {
    writes_current(&[
        ("python3 -c \"open('current', 'w').write('new')\"", "new"),
        ("python3 -c \"open('versions/v3', 'x').write('new')\"", "new"),
        ("python3 -c \"open('current', 'a').write('+more')\"", "two+more"),
        ("python3 -c \"import pathlib; pathlib.Path('current').write_text('new')\"", "new"),
        ("python3 -c \"f = open('current', 'r+'); f.write('T'); f.close()\"", "Two"),
        (
            "python3 -c \"import os; open('current.new', 'w').write('new'); os.replace('current.new', 'current')\"",
            "new",
        ),
        (
            "python3 -c \"import os, tempfile; f = tempfile.NamedTemporaryFile('w', dir='.', delete=False); f.write('new'); f.close(); os.replace(f.name, 'current')\"",
            "new",
        ),
        (
            "printf %s new > $OUT/f; python3 -c \"import os, shutil; shutil.copy(os.environ['OUT'] + '/f', 'current')\"",
            "new",
        ),
        (
            "printf %s new > $OUT/f; python3 -c \"import os, shutil; shutil.move(os.environ['OUT'] + '/f', 'current')\"",
            "new",
        ),
    ]);
}

#[test]
fn values_are_copied_out() {
    let mount = secret();
    for script in [
        "cp prod/s/current $OUT/f",
        "cp -a prod/s/current $OUT/f",
        "cp -L prod/s/stages/ACSCurrent $OUT/f",
        "cat prod/s/current > $OUT/f",
        "dd if=prod/s/current of=$OUT/f status=none",
        "rsync -a prod/s/current $OUT/f",
        "install prod/s/current $OUT/f",
        "python3 -c \"import os, shutil; shutil.copy('prod/s/current', os.environ['OUT'] + '/f')\"",
        "python3 -c \"import os, shutil; shutil.copyfile('prod/s/versions/v2', os.environ['OUT'] + '/f')\"",
        "printf %s \"$(< prod/s/current)\" > $OUT/f",
    ] {
        assert_eq!(mount.ok(&format!("rm -f $OUT/f; {script}; cat $OUT/f")), "two", "{script}");
    }
}

#[test]
fn the_same_version_again_is_a_success() {
    let mount = secret();
    for script in [
        "printf %s two > prod/s/versions/v2",
        "cp prod/s/versions/v2 $OUT/f && cp $OUT/f prod/s/versions/v2",
        "printf %s two | dd of=prod/s/versions/v2 status=none",
    ] {
        mount.ok(script);
    }
    assert_eq!(mount.names("prod/s/versions"), ["v1", "v2"]);
    for script in [
        "echo -n other > prod/s/versions/v2",
        "printf %s two. > prod/s/versions/v2",
        "printf %s x >> prod/s/versions/v2",
    ] {
        let error = mount.fails(script);
        assert!(error.contains("File exists"), "{script}: {error}");
        assert_eq!(mount.last_code(), "Rejected.ResourceExist");
    }
    // A shell's own printf hears nothing of a close; everything else does.
    let error = mount.fails("/usr/bin/printf %s tw > prod/s/versions/v2; cp <(printf %s tw) prod/s/versions/v2");
    assert!(error.contains("File exists"), "{error}");
    assert_eq!(mount.read("prod/s/current"), "two");
    assert_eq!(mount.read("prod/s/versions/v2"), "two");
}

#[test]
fn labels_move() {
    let mount = secret();
    mount.ok("ln -sfn ../versions/v1 prod/s/stages/ACSCurrent");
    assert_eq!(mount.read("prod/s/current"), "one");
    assert_eq!(mount.read("prod/s/stages/ACSPrevious"), "two", "rollback leaves what was current behind");
    mount.ok("ln -s ../versions/v2 prod/s/stages/canary");
    assert_eq!(mount.read("prod/s/stages/canary"), "two");
    assert!(mount.fails("ln -s ../versions/v1 prod/s/stages/canary").contains("File exists"));
    mount.ok("ln -sf ../versions/v1 prod/s/stages/canary");
    assert_eq!(mount.ok("readlink prod/s/stages/canary"), "../versions/v1\n");
    mount.ok("mv prod/s/stages/canary prod/s/stages/Customer; ln -s ../versions/v1 prod/s/stages/Cutover2");
    assert_eq!(mount.names("prod/s/stages"), ["ACSCurrent", "ACSPrevious", "Customer", "Cutover2"]);
    mount.ok("rm prod/s/stages/Customer prod/s/stages/Cutover2");
    mount.ok("python3 -c \"import os; os.symlink('../versions/v2', 'prod/s/stages/.x'); os.replace('prod/s/stages/.x', 'prod/s/stages/ACSCurrent')\"");
    assert_eq!(mount.read("prod/s/current"), "two");
    assert_eq!(mount.names("prod/s/stages"), ["ACSCurrent", "ACSPrevious"]);
    for label in ["ACSCurrent", "ACSPrevious"] {
        assert!(mount.fails(&format!("rm prod/s/stages/{label}")).contains("not permitted"));
        assert_eq!(mount.last_code(), "Rejected.UnsupportedOperation");
    }
}

/// With all eight labels in use, `ln -sf` still has to come by its temporary link.
#[test]
fn a_rollback_needs_no_free_label() {
    let mount = secret();
    for n in 0..6 {
        mount.ok(&format!("ln -s ../versions/v1 prod/s/stages/label{n}"));
    }
    assert!(mount.fails("ln -s ../versions/v1 prod/s/stages/label6").contains("quota"));
    for _ in 0..3 {
        mount.ok("ln -sfn ../versions/v1 prod/s/stages/ACSCurrent; ln -sfn ../versions/v2 prod/s/stages/ACSCurrent");
    }
    assert_eq!(mount.names("prod/s/stages").len(), 8);
}

#[test]
fn tags_are_lines() {
    let mount = secret();
    mount.secret("prod/t", "one");
    mount.ok("echo env=prod >> prod/s/tags; echo team=x | tee -a prod/*/tags > /dev/null");
    assert_eq!(mount.read("prod/s/tags"), "env=prod\nteam=x\n");
    assert_eq!(mount.read("prod/t/tags"), "team=x\n");
    mount.ok("echo only=this > prod/s/tags");
    assert_eq!(mount.read("prod/s/tags"), "only=this\n");
    mount.ok("sed -i s/this/that/ prod/s/tags; echo 'key=with=signs value' >> prod/s/tags");
    assert_eq!(mount.read("prod/s/tags"), "key=with=signs value\nonly=that\n");
    mount.ok("vim -u NONE -es -c '%s/that/vim/' -c wq prod/s/tags < /dev/null");
    assert_eq!(mount.read("prod/s/tags"), "key=with=signs value\nonly=vim\n");
    mount.ok(": > prod/s/tags");
    assert_eq!(mount.read("prod/s/tags"), "");
    mount.ok("echo a=1 >> prod/s/tags & echo b=2 >> prod/s/tags & wait");
    assert_eq!(mount.read("prod/s/tags"), "a=1\nb=2\n", "two who add at once both get in");
}

#[test]
fn texts_are_kept() {
    let mut mount = secret();
    mount.ok("echo 'What it is for' > prod/s/description; echo 9 > prod/.instance/recovery-window");
    mount.ok("echo ' and more' >> prod/s/description; echo default > prod/s/cmk");
    mount.ok("cat prod/s/policy > $OUT/policy; cp $OUT/policy prod/s/policy; : > prod/s/policy");
    mount.restart();
    assert_eq!(mount.read("prod/s/description"), "What it is for\n and more\n");
    assert_eq!(mount.read("prod/.instance/recovery-window"), "9\n");
    assert!(mount.read("prod/s/info").contains("\"Description\": \"What it is for\\n and more\""));
    assert!(mount.read("prod/.instance/info").contains("\"RecoveryWindowInDays\": 9"));
}

#[test]
fn echo_may_lose_its_newline() {
    let mount = Mount::with(&["-o", "trim-newline"]);
    mount.ok("mkdir prod/s; echo v > prod/s/versions/v1; echo v > prod/s/versions/v1; printf 'a\\nb\\n' > prod/s/versions/v2");
    assert_eq!(mount.read("prod/s/versions/v1"), "v");
    assert_eq!(mount.read("prod/s/versions/v2"), "a\nb\n");
}

#[test]
fn a_read_only_mount_changes_nothing() {
    let mut mount = secret();
    mount.options = vec!["-o".to_owned(), "ro".to_owned()];
    mount.restart();
    for script in
        ["echo x > prod/s/current", "mkdir prod/t", "rm -r prod/s", "ln -sfn ../versions/v1 prod/s/stages/ACSCurrent"]
    {
        assert!(mount.fails(script).contains("Read-only file system"), "{script}");
    }
    assert_eq!(mount.read("prod/s/current"), "two");
}

/// Version files copied back are puts: the last one is current, those that had rolled away come again, and newer ones roll away
/// for them.
#[test]
fn a_copy_put_back_is_no_restore() {
    let mount = Mount::new();
    mount.ok("mkdir prod/s; for n in $(seq 12); do printf v$n > prod/s/current; done; ln -sfn ../versions/v5 prod/s/stages/ACSCurrent");
    // One by one, since `cp -a` takes them in the order of the other filesystem's directory.
    let script = "save=$(mktemp -d); trap 'rm -r $save' EXIT; cp -a prod/s/. $save; printf v13 > prod/s/current; \
                  printf v14 > prod/s/current; for v in $(ls $save/versions | sort -V); do cp $save/versions/$v prod/s/versions; done; \
                  cat prod/s/current; cp -a $save/stages/. prod/s/stages && exit 9 || :";
    assert_eq!(mount.ok(script), "v12", "the last put is current");
    let versions = mount.names("prod/s/versions");
    assert!(versions.contains(&"v3".to_owned()) && !versions.contains(&"v14".to_owned()), "{versions:?}");
    assert_eq!(mount.ok("ln -sfn ../versions/v5 prod/s/stages/ACSCurrent; cat prod/s/current"), "v5");
}
