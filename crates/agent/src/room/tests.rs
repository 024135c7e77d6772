//! Who gives way.

use super::*;

const MIB: u64 = 1 << 20;

/// A disk of two gigabytes.
fn disk(free: u64) -> Level {
    Level::new(BYTES, free * MIB, 2000 * MIB, None)
}

fn task(n: usize) -> TaskId {
    format!("6f1c7f3e-5b0f-4a4c-9d8e-2b1a{n:08x}").parse().expect("valid")
}

/// Accounts, and what each of their tasks holds.
fn parts(accounts: &[(&str, &[u64])]) -> Vec<Part> {
    let all = accounts.iter().flat_map(|(owner, held)| held.iter().map(move |held| (*owner, *held)));
    let part = |(n, (owner, held)): (usize, (&str, u64))| {
        let way = Way::End(AllocationId::first(task(n)));
        let share = Share { task: task(n), owner: owner.to_owned(), bytes: held * MIB, files: 1, way };
        Part { share, holder: 0, ends: false }
    };
    all.enumerate().map(part).collect()
}

/// The same, of tasks that are over: what their logs take.
fn logs(accounts: &[(&str, &[u64])]) -> Vec<Part> {
    let mut logs = parts(accounts);
    logs.iter_mut().for_each(|log| log.share.way = Way::Remove);
    logs
}

/// What is chosen holds so much, in the order in which it is.
fn held(choice: &Choice, parts: &[Part]) -> Vec<u64> {
    choice.parts.iter().map(|number| parts[*number].share.bytes / MIB).collect()
}

/// What each of those holds that are to end, and whether there is room then.
fn chosen(free: u64, accounts: &[(&str, &[u64])]) -> (Vec<u64>, bool) {
    let parts = parts(accounts);
    let choice = choose(&disk(free), &parts);
    (held(&choice, &parts), !choice.in_vain)
}

#[test]
fn a04_who_holds_most_makes_room() {
    // KP1: one task, less than its own limit, on a disk that was more than half full.
    assert_eq!(chosen(0, &[("one", &[700]), ("two", &[30])]), (vec![700], true));
    // Several tasks of an account, each of which holds less than another's only one.
    assert_eq!(chosen(0, &[("one", &[300, 200, 400]), ("two", &[450])]), (vec![400], true));
    // As many as it takes: the account with most, whoever that is by then.
    let goal = Level::new(BYTES, 0, 2000 * MIB, Some(100 * MIB));
    let those = parts(&[("one", &[50, 45, 10]), ("two", &[48, 40])]);
    assert_eq!(held(&choose(&goal, &those), &those), [50, 48, 45]);
    assert_eq!(chosen(100, &[("one", &[700])]), (vec![], true));
    // What ends already is counted as room.
    let mut ending = parts(&[("one", &[700, 100])]);
    ending[0].ends = true;
    assert_eq!(choose(&disk(0), &ending), Choice::default());
}

/// V1: what somebody has printed is theirs as much as what they have written.
#[test]
fn a04_who_has_printed_most_makes_room() {
    // The logs of what is over first, the oldest first, and a little more of them than must be.
    let mut those = logs(&[("printer", &[60, 50, 200, 10, 10])]);
    those.extend(parts(&[("printer", &[190]), ("innocent", &[300])]));
    assert_eq!(held(&choose(&disk(0), &those), &those), [60, 50, 200]);
    // Then what runs: others' tasks are safe as long as their accounts hold less.
    let mut those = logs(&[("printer", &[30])]);
    those.extend(parts(&[("printer", &[190, 180]), ("innocent", &[150])]));
    assert_eq!(held(&choose(&disk(0), &those), &those), [30, 190]);
    // Small logs stay: they are no help.
    let mut those = logs(&[("printer", &[1, 2, 3])]);
    those.extend(parts(&[("printer", &[190, 180]), ("innocent", &[150])]));
    assert_eq!(held(&choose(&disk(0), &those), &those), [190]);
    // A log is no task: it goes for others' sake only if its account has most.
    let mut those = logs(&[("innocent", &[150])]);
    those.extend(parts(&[("greedy", &[700])]));
    assert_eq!(held(&choose(&disk(0), &those), &those), [700]);
    // Nothing is removed that has no room to give, nor while there is room.
    assert_eq!(choose(&disk(100), &logs(&[("printer", &[900])])), Choice::default());
    assert!(choose(&disk(0), &logs(&[("printer", &[9, 9])])).in_vain);
    // What is over is room soon: nobody else gives way for it at once.
    let mut those = parts(&[("printer", &[400]), ("innocent", &[300])]);
    (those[0].share.way, those[0].ends) = (Way::Soon, true);
    assert_eq!(choose(&disk(0), &those), Choice::default());
    // Who has most and can't give it now keeps no other from it; and small tasks don't end for large things that stay.
    let mut those = logs(&[("printer", &[400])]);
    those[0].share.way = Way::None;
    those.extend(parts(&[("printer", &[1, 2]), ("greedy", &[300])]));
    assert_eq!(held(&choose(&disk(0), &those), &those), [300]);
}

#[test]
fn a04_a_hundred_thousand_logs_are_chosen_from_in_a_moment() {
    let names: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let accounts: Vec<(&str, &[u64])> = names.iter().map(|name| (name.as_str(), &[1; 100][..])).collect();
    let those = logs(&accounts);
    let level = Level::new(BYTES, 0, 2_000_000 * MIB, Some(1000 * MIB));
    let begun = std::time::Instant::now();
    let choice = choose(&level, &those);
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!((choice.parts.len(), choice.in_vain), (MOST, false));
}

/// A run and its log are one thing, whoever has which.
#[test]
fn a04_a_disk_has_one_ledger() {
    let share = |n: usize, owner: &str, bytes, way| Share {
        task: task(n),
        owner: owner.to_owned(),
        bytes,
        files: 1,
        way,
    };
    let run = Way::End(AllocationId::first(task(1)));
    let tasks = vec![share(1, "0001-key", 5, run), share(2, "0001-key", 7, Way::Soon)];
    let log = |n, bytes, way| share(n, "account 1", bytes, way);
    let logs = vec![log(3, 1, Way::Remove), log(1, 10, run), log(2, 20, Way::Remove)];
    let parts = together(vec![tasks, logs]);
    let told = |part: &Part| {
        let Share { task, owner, bytes, way, .. } = &part.share;
        assert_eq!(owner, "account 1");
        (*task, *bytes, *way, part.holder)
    };
    let expected = [(task(1), 15, run, 0), (task(2), 27, Way::Remove, 1), (task(3), 1, Way::Remove, 1)];
    assert_eq!(parts.iter().map(told).collect::<Vec<_>>(), expected);
}

/// T2: a bind mount on the same disk, data that is moved on while it is counted, files in flight.
#[test]
fn a04_nobody_is_ended_for_what_no_account_is_seen_to_hold() {
    let parts = parts(&[("one", &[200]), ("two", &[1])]);
    for set in [None, Some(100 * MIB)] {
        let level = Level::new(BYTES, 0, 2000 * MIB, set);
        let grown = |mib: u64| Level { others: Some((2000 - 201 - mib) * MIB), ..level };
        let nobody = Choice { parts: vec![], in_vain: true };
        for hidden in [1780, 390, 101] {
            assert_eq!(choose(&grown(hidden), &parts), nobody);
        }
        assert_eq!(held(&choose(&grown(10), &parts), &parts), [200]);
    }
}

/// KA1: accounts together hold more than half of what the disk has become fuller by, and yet others have filled it.
#[test]
fn ka01_nobody_gives_way_for_what_others_have_filled_however_much_accounts_hold() {
    let nobody = Choice { parts: vec![], in_vain: true };
    // a) and c): who fills it has less to be seen than an innocent one.
    let level = Level { others: Some(60 * MIB), ..disk(0) };
    let those = parts(&[("innocent", &[480]), ("attacker", &[455])]);
    assert_eq!(choose(&level, &those), nobody);
    // b): logs of what is over, which don't come back.
    let mut those = logs(&[("innocent", &[300, 270])]);
    those.extend(parts(&[("attacker", &[150])]));
    assert_eq!(choose(&level, &those), nobody);
    // What accounts hold explains all: who holds most gives way, as ever.
    let those = parts(&[("innocent", &[480]), ("attacker", &[1460])]);
    assert_eq!(held(&choose(&level, &those), &those), [1460]);
    // They explain a part: no more than that is made free.
    let set = Level { others: Some(60 * MIB), ..Level::new(BYTES, 0, 2000 * MIB, Some(500 * MIB)) };
    let those = logs(&[("one", &[100; 15])]);
    assert_eq!(choose(&set, &those).parts.len(), 1, "440 of 500 are others' doing");
    assert!(choose(&set, &those).in_vain);
    let known = Level { others: Some(500 * MIB), ..set };
    assert_eq!(choose(&known, &those).parts.len(), 7, "and here none");
}

/// Who has more than anybody looks at isn't known to have more than is nobody else's.
#[test]
fn ka01_what_nobody_can_count_is_no_more_than_there_is() {
    let level = Level { others: Some(60 * MIB), ..disk(0) };
    let mut those = parts(&[("innocent", &[480]), ("hides", &[0])]);
    those[1].share.bytes = u64::MAX;
    assert_eq!(choose(&level, &those).parts, [1], "as much as nobody else has");
    // It ends, and little is to come of that: others don't wait for it.
    let mut those = parts(&[("greedy", &[1930]), ("hides", &[0])]);
    (those[1].share.bytes, those[1].ends) = (u64::MAX, true);
    assert_eq!(choose(&level, &those).parts, [0]);
}

/// MD5: an account fills a bind mount, and then starts a task that nobody can count.
#[test]
fn md05_nobody_gives_way_for_what_somebody_may_hold_of_whom_it_is_not_known() {
    let level = Level { others: Some(100 * MIB), ..disk(0) };
    let mut those = parts(&[("innocent", &[700, 300]), ("hides", &[0])]);
    those[2].share.bytes = u64::MAX;
    assert_eq!(choose(&level, &those).parts, [2], "900 are nobody's");
    those[2].ends = true;
    assert_eq!(choose(&level, &those), Choice { parts: vec![], in_vain: false });
    those.pop();
    assert_eq!(choose(&level, &those), Choice { parts: vec![], in_vain: true }, "and so it is without him");
    // Where accounts explain what the disk lacks, they give way with him as without him, after him.
    let mut those = parts(&[("innocent", &[400]), ("greedy", &[1450, 20]), ("hides", &[0])]);
    those[3].share.bytes = u64::MAX;
    assert_eq!(choose(&level, &those).parts, [3, 1]);
    // Nothing is known of others yet: one after the other.
    let level = disk(0);
    assert_eq!(choose(&level, &those).parts, [3]);
    those[3].ends = true;
    assert_eq!(choose(&level, &those).parts, [0; 0]);
    those.pop();
    assert_eq!(choose(&level, &those).parts, [1]);
    // He can't hold enough to be a help.
    let mut those = parts(&[("innocent", &[1890]), ("hides", &[0])]);
    those[1].share.bytes = u64::MAX;
    let level = Level { others: Some(105 * MIB), ..level };
    assert_eq!(choose(&level, &those).parts, [0], "5 are nobody's");
}

#[test]
fn a04_no_task_is_ended_for_what_others_have_filled() {
    assert_eq!(chosen(0, &[("one", &[19]), ("two", &[5, 10])]), (vec![], false));
    // There is little left beside tasks, but they haven't taken most of that.
    assert_eq!(chosen(80, &[("one", &[60]), ("two", &[30])]), (vec![], true));
    assert_eq!(chosen(15, &[("one", &[90])]), (vec![90], true));
    // An administrator's word is another thing.
    let set = Level::new(BYTES, 80 * MIB, 2000 * MIB, Some(100 * MIB));
    assert_eq!(choose(&set, &parts(&[("one", &[60])])).parts.len(), 1);
}

#[test]
fn a04_a_large_disk_keeps_a_gigabyte_free_and_a_small_one_a_little() {
    let low = |all: u64| Level::new(BYTES, 0, all * MIB, None).low / MIB;
    assert_eq!((low(100), low(2000), low(10_000_000)), (16, 100, 1024));
    assert_eq!(Level::new(BYTES, 0, 2000 * MIB, Some(3000 * MIB)).low / MIB, 1000, "no more than half");
    let files = Level::new(FILES, 100, 12_000, None);
    assert_eq!((files.low, files.little(), files.goal(5000)), (600, 120, 600));
}
