//! When secrets are rotated by functions, by which clock; and that none is forgotten. No function is run here.

use std::collections::HashSet;

use kmsfs::id::NodeId;
use kmsfs::secret::{AtStep, KeyOrder, Plan, Step};
use kmsfs::value::Value;
use kmsfs::vault::Agenda;

use crate::due::{DAY, HOUR, Machine};
use crate::room::caller;

fn plan(text: &str) -> Option<Plan> {
    Plan::parse_file(text.as_bytes()).unwrap()
}

/// A secret that is rotated each week.
fn weekly(machine: &Machine, name: &str) -> NodeId {
    let id = machine.secret(name, 1);
    machine.vault.set_rotation(caller(), id, plan("function=random\nevery=7d")).unwrap();
    id
}

fn due(machine: &Machine) -> Vec<NodeId> {
    machine.vault.rotations_due(1_000, &|_| false).unwrap().due
}

fn step(machine: &Machine, id: NodeId) -> Option<AtStep> {
    machine.vault.step_due(id).unwrap()
}

/// Does all steps of the run of `id`, as a function would.
fn rotate(machine: &Machine, id: NodeId) {
    while let Some(at) = machine.vault.step_due(id).unwrap() {
        assert_eq!(machine.vault.rotation_task(id).unwrap().at, at);
        match at.step {
            Step::Create => machine.vault.put_pending(id, at, &Value::copy_of(b"made")).unwrap(),
            Step::Set | Step::Test | Step::Finish => machine.vault.end_step(id, at).unwrap(),
        }
    }
}

fn is_sound(machine: &Machine) {
    assert_eq!(machine.vault.verify().unwrap().problems, [] as [&str; 0]);
}

#[test]
fn a_run_is_due_when_its_time_has_come() {
    let machine = Machine::new();
    let (weekly, idle) = (weekly(&machine, "weekly"), machine.secret("idle", 1));
    machine.vault.set_rotation(caller(), idle, plan("function=random")).unwrap();
    machine.run(7 * DAY - HOUR);
    let Agenda { due: now, next } = machine.vault.rotations_due(10, &|_| false).unwrap();
    assert_eq!((now, next.map(|next| next.as_secs())), (vec![], Some(3_600)));
    machine.run(HOUR);
    assert_eq!(due(&machine), [weekly]);
    rotate(&machine, weekly);
    assert_eq!(due(&machine), [], "it has its next time");
    machine.run(7 * DAY);
    assert_eq!(due(&machine), [weekly]);
    machine.vault.begin_rotation(caller(), idle, None).unwrap();
    assert_eq!(due(&machine).into_iter().collect::<HashSet<_>>(), [weekly, idle].into());
    is_sound(&machine);
}

/// A clock that is set ahead rotates once too early; one that is set back rotates no later.
#[test]
fn a_clock_that_is_set_makes_no_run_late() {
    let years = 5 * 365 * DAY as i64;
    let machine = Machine::new();
    let id = weekly(&machine, "s");
    machine.run(DAY);
    machine.set(years);
    assert_eq!(due(&machine), [id]);
    rotate(&machine, id);
    machine.set(-years);
    machine.run(7 * DAY - HOUR);
    assert_eq!(due(&machine), []);
    machine.run(HOUR);
    assert_eq!(due(&machine), [id]);
    rotate(&machine, id);
    machine.set(-years);
    machine.run(7 * DAY);
    assert_eq!(due(&machine), [id]);
}

#[test]
fn what_is_under_way_goes_on_in_the_next_process() {
    let machine = Machine::new();
    let (begun, later) = (weekly(&machine, "begun"), weekly(&machine, "later"));
    machine.vault.begin_rotation(caller(), begun, None).unwrap();
    machine.vault.put_pending(begun, step(&machine, begun).unwrap(), &Value::copy_of(b"made")).unwrap();
    let machine = machine.restart(false);
    assert_eq!(due(&machine), [begun]);
    assert_eq!(step(&machine, begun).map(|at| at.step), Some(Step::Set));
    machine.run(8 * DAY);
    let machine = machine.restart(true);
    assert_eq!(due(&machine).into_iter().collect::<HashSet<_>>(), [begun, later].into());
    is_sound(&machine);
}

#[test]
fn a_failed_step_waits_for_its_next_try() {
    let machine = Machine::new();
    let id = weekly(&machine, "s");
    machine.vault.begin_rotation(caller(), id, None).unwrap();
    let at = step(&machine, id).unwrap();
    machine.vault.fail_step(id, at, "no", false).unwrap();
    assert_eq!((due(&machine), step(&machine, id)), (vec![], None));
    machine.run(10_000_000_000);
    assert_eq!((due(&machine), step(&machine, id)), (vec![id], Some(at)));
    machine.vault.fail_step(id, at, "no", true).unwrap();
    machine.run(DAY);
    assert_eq!(due(&machine), [], "until its next time");
    machine.run(6 * DAY);
    assert_eq!(due(&machine), [id]);
}

#[test]
fn what_is_deleted_waits_and_what_is_purged_is_forgotten() {
    let machine = Machine::new();
    let (restored, purged) = (weekly(&machine, "restored"), weekly(&machine, "purged"));
    for id in [restored, purged] {
        machine.vault.schedule_deletion(caller(), id).unwrap();
    }
    machine.run(8 * DAY);
    assert_eq!(due(&machine), []);
    is_sound(&machine);
    machine.vault.restore_in_place(caller(), restored).unwrap();
    machine.vault.purge(caller(), purged).unwrap();
    assert_eq!(due(&machine), [restored]);
    let before = machine.vault.counts().records;
    machine.vault.cancel_rotation(caller(), restored).unwrap();
    machine.vault.set_rotation(caller(), restored, None).unwrap();
    assert_eq!(machine.vault.counts().records, before - 1, "its entry goes with its plan");
    is_sound(&machine);
    machine.vault.destroy(caller(), weekly(&machine, "destroyed"), true).unwrap();
    is_sound(&machine);
}

#[test]
fn many_that_are_due_come_some_at_a_time() {
    let machine = Machine::new();
    let all: HashSet<NodeId> = (0..40).map(|n| weekly(&machine, &format!("s{n}"))).collect();
    machine.run(7 * DAY);
    let mut done = HashSet::new();
    while done.len() < all.len() {
        let some = machine.vault.rotations_due(4, &|id| done.contains(&id)).unwrap().due;
        assert!((1..=4).contains(&some.len()), "{some:?} after {}", done.len());
        for id in some {
            rotate(&machine, id);
            assert!(done.insert(id), "it came twice");
        }
    }
    assert_eq!((done, due(&machine)), (all, vec![]));
}

/// What is due stays so until something is done for it: also where it was busy, or could not begin.
#[test]
fn what_is_due_is_not_forgotten() {
    let machine = Machine::new();
    let (one, other) = (weekly(&machine, "one"), weekly(&machine, "other"));
    machine.run(7 * DAY);
    let busy = machine.vault.rotations_due(10, &|id| id == one).unwrap();
    assert_eq!((busy.due, busy.next), (vec![other], None));
    assert_eq!(due(&machine).into_iter().collect::<HashSet<_>>(), [one, other].into());
    rotate(&machine, other);
    assert_eq!(due(&machine), [one]);
    // Under a key that may not be used it waits, and goes on by itself.
    let key = machine.vault.node(one).unwrap().unwrap().as_secret().unwrap().secret.key;
    rotate(&machine, one);
    machine.run(7 * DAY);
    machine.vault.set_key_state(caller(), key, KeyOrder::Disable).unwrap();
    assert_eq!(due(&machine), []);
    machine.vault.set_key_state(caller(), key, KeyOrder::Enable).unwrap();
    assert_eq!(due(&machine).len(), 2);
}
