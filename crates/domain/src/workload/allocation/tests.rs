//! The life of a run, from every phase that can be reached and by everything that can happen.

use super::*;

const AT: Timestamp = Timestamp(7);

fn place(agent: &str) -> Placement {
    Placement::on(agent.parse().expect("a name"), vec![0, 1])
}

fn ending() -> Ending {
    Ending { at: AT, exit_code: Some(0), exit_signal: None, fault: None, reason: "over".into() }
}

/// Every event there is.
fn events() -> Vec<Event> {
    let mut all = vec![
        Event::Placed(place("a")),
        Event::Placed(place("b")),
        Event::Started(AT),
        Event::Ready,
        Event::Heard,
        Event::Over(ending()),
    ];
    all.extend(Cause::ALL.map(Event::Asked));
    all.extend(Cause::ALL.map(|cause| Event::Signalled { cause, until: Timestamp(99) }));
    all
}

/// Every phase that can be reached, from the beginning on.
fn reachable() -> Vec<Phase> {
    let mut all = vec![Phase::Waiting];
    let mut at = 0;
    while let Some(phase) = all.get(at).cloned() {
        for next in events().iter().filter_map(|event| phase.next(event)) {
            if !all.contains(&next) {
                all.push(next);
            }
        }
        at += 1;
    }
    all
}

#[test]
fn states_only_move_forward_and_every_one_is_reached() {
    let all = reachable();
    for phase in &all {
        for event in events() {
            let Some(next) = phase.next(&event) else { continue };
            assert!(next.state() >= phase.state(), "{phase:?} -> {event:?} -> {next:?}");
            let same_place = matches!(event, Event::Placed(_));
            assert!(same_place || next != *phase, "{event:?} says nothing new of {phase:?}");
        }
        assert_eq!(State::from_stored(phase.state().as_str()), Some(phase.state()));
    }
    for state in State::ALL {
        assert!(all.iter().any(|phase| phase.state() == state), "{state:?}");
    }
}

#[test]
fn what_is_over_stays_and_all_else_can_end() {
    for phase in reachable() {
        let over = phase.next(&Event::Over(ending()));
        assert_eq!(over.is_some(), !phase.is_over(), "{phase:?}");
        let Some(over) = over else {
            assert!(events().iter().all(|event| phase.next(event).is_none()));
            continue;
        };
        assert_eq!((over.placement(), over.since()), (phase.placement(), phase.since()), "{phase:?}");
        assert_eq!((over.asked(), over.ending()), (phase.asked(), Some(&ending())), "{phase:?}");
    }
}

#[test]
fn whose_end_is_asked_for_gets_no_place_and_a_stronger_word_counts() {
    for phase in reachable().iter().filter(|phase| phase.asked().is_some()) {
        assert_eq!(phase.next(&Event::Placed(place("c"))), None, "{phase:?}");
        for cause in Cause::ALL {
            let before = phase.asked().expect("asked");
            let next = phase.next(&Event::Asked(cause));
            assert_eq!(next.is_some(), !phase.is_over() && cause > before.cause, "{phase:?} {cause:?}");
            if let Some(next) = next {
                assert_eq!(next.asked(), Some(Asked { cause, heard: before.heard, until: None }));
                assert_eq!(next.placement(), phase.placement());
            }
        }
    }
}

#[test]
fn who_is_told_in_time_may_end_by_itself_and_a_kill_takes_the_time_away() {
    let on = place("a");
    let running = Phase::Running { on, since: AT, ready: false };
    let told = |cause, until| Event::Signalled { cause, until: Timestamp(until) };
    let preempted = running.next(&told(Cause::Preempted, 20)).expect("asked");
    let until = |phase: &Phase| phase.asked().expect("asked").until;
    assert_eq!(until(&preempted), Some(Timestamp(20)));
    assert_eq!(preempted.next(&told(Cause::Preempted, 30)), None, "once");
    let paused = preempted.next(&told(Cause::Paused, 30)).expect("stronger");
    assert_eq!(until(&paused), Some(Timestamp(20)), "the time that it had");
    let heard = paused.next(&Event::Heard).expect("news");
    assert_eq!(heard.asked().map(|asked| (asked.heard, asked.until)), Some((true, Some(Timestamp(20)))));
    let killed = heard.next(&Event::Asked(Cause::Killed)).expect("stronger");
    assert_eq!(until(&killed), None);
    // What has no process yet can save nothing.
    let assigned = Phase::Assigned(place("a")).next(&told(Cause::Paused, 20)).expect("asked");
    assert_eq!(until(&assigned), None);
}

#[test]
fn a_process_starts_once_and_only_in_its_place() {
    for phase in reachable() {
        let next = phase.next(&Event::Started(Timestamp(9)));
        let may = phase.placement().is_some() && phase.since().is_none() && !phase.is_over();
        assert_eq!(next.is_some(), may, "{phase:?}");
    }
    assert_eq!(Phase::Waiting.next(&Event::Started(AT)), None);
}

#[test]
fn a_gang_has_its_parts_on_different_agents() {
    let part = |agent: &str| Part { agent: agent.parse().expect("a name"), slots: vec![0, 1] };
    let gang = Placement::try_from(vec![part("a"), part("b")]).expect("a place");
    assert_eq!((gang.slots(), gang.parts().count()), (4, 2));
    assert_eq!(gang.part(&part("b").agent), Some(&part("b")));
    assert_eq!(Placement::try_from(vec![]), Err(NoPlacement));
    assert_eq!(Placement::try_from(vec![part("a"), part("a")]), Err(NoPlacement));
    let text = serde_json::to_string(&gang).expect("JSON");
    assert_eq!(text, r#"[{"agent":"a","slots":[0,1]},{"agent":"b","slots":[0,1]}]"#);
    assert_eq!(serde_json::from_str::<Placement>(&text).expect("read"), gang);
    assert!(serde_json::from_str::<Placement>("[]").is_err());
}

/// What fails first is why a run on several agents ended, and what is ended because of it changes nothing of that.
#[test]
fn a_run_on_several_agents_ends_with_its_last_part_for_what_failed_first() {
    let agent = |name: &str| -> AgentId { name.parse().expect("a name") };
    let part = |name| Part { agent: agent(name), slots: vec![0] };
    let on = Placement::try_from(["a", "b", "c"].map(part).to_vec()).expect("a place");
    let exit = |name, code, reason: &str| PartEnding {
        agent: agent(name),
        code,
        signal: None,
        fault: None,
        reason: reason.into(),
    };
    let id = AllocationId::first(crate::id::TaskId(uuid::Uuid::from_u128(1)));
    let mut run = Allocation { phase: Phase::Assigned(on), ..Allocation::waiting(id, AT) };
    run.exits = vec![exit("b", Some(0), "done")];
    assert_eq!((run.after_part(), run.has_failed_part()), (AfterPart::Others, false));
    let failed = exit("c", Some(3), "failed");
    run.exits.push(failed.clone());
    let rest = Placement::on(agent("a"), vec![0]);
    assert_eq!((run.after_part(), run.has_failed_part()), (AfterPart::End(rest), true));
    run.exits.push(exit("a", Some(137), "ended by us"));
    assert_eq!(run.after_part(), AfterPart::Over(&failed));
    for exit in &mut run.exits {
        exit.code = Some(0);
    }
    assert!(matches!(run.after_part(), AfterPart::Over(last) if last.code == Some(0)));
    // What is lost failed, too.
    run.exits[2].code = None;
    assert_eq!(run.after_part(), AfterPart::Over(&run.exits[2]));
}
