//! Who else may speak by a process. A forwarder needn't be one process: `ssh` lets a child hold its connection, `socat`
//! starts a program for each client, `nc` is put behind a pipe, tmux lets a program say what is typed.
//!
//! What they have in common is that words of elsewhere come to the process, or its words go there, over however many
//! processes and channels (`reach`); or to who started it. So one that is abroad, anywhere in there, is a doubt.

use std::collections::BTreeSet;

use crate::doubt::Doubt;
use crate::held;
use crate::process::{Look, Process};
use crate::reach::{self, Way};
use crate::scan::STDERR;

/// Whether none of those that may speak by a process could be a stranger's way.
///
/// # Errors
/// Which one could.
pub(crate) fn check(process: Process, look: &Look) -> Result<(), Doubt> {
    let mut checked = BTreeSet::new();
    let mut check_all = |others: BTreeSet<u32>| {
        let mut others = others.into_iter().filter(|other| checked.insert(*other));
        others.try_for_each(|other| check_other(process, Process(other), look))
    };
    for way in [Way::Hears, Way::Says] {
        check_all(reach::all(&[process], way, u32::MAX, look)?)?;
    }
    let starters = check_starters(process, look)?;
    for way in [Way::Hears, Way::Says] {
        check_all(reach::all(&starters, way, STDERR, look)?)?;
    }
    // What a process starts, it starts for those with whom it talks; whose words it only gathers, as `make` does, or who
    // only hears of it, isn't one of them.
    let heard = reach::all(&starters, Way::Hears, u32::MAX, look)?;
    let told = reach::all(&starters, Way::Says, u32::MAX, look)?;
    check_all(heard.intersection(&told).copied().collect())?;
    // Nor can it be told of those who are left out whether it is one who hears and another who says.
    let hidden = held::hidden();
    let mut left_out =
        [heard, told].map(|all| all.into_iter().find(|other| hidden.contains_key(other))).into_iter();
    match (left_out.next().flatten(), left_out.next().flatten()) {
        (Some(_), Some(other)) => Err(Doubt::HeldUp(other)),
        _ => Ok(()),
    }
}

/// A process that is somehow connected with one that speaks to the master.
fn check_other(process: Process, other: Process, look: &Look) -> Result<(), Doubt> {
    look.reached.borrow_mut().insert(other.0);
    let doubtful = if other.is_browser() {
        other.serves(look)
    } else {
        // What it has open is in no table of ours then.
        let is_away = other.check_home(&look.home, &look.task_uids).is_err() && other.is_there();
        is_away || other.is_abroad(look)
    };
    if doubtful {
        return Err(Doubt::SpeaksFor(process.0, other.0));
    }
    if other.is_browser() { Ok(()) } else { other.check_explained(look) }
}

/// Looks at those that started a process; gives those of whom it may have heard more than that it was started: the ones of
/// its session, and who made its terminal.
fn check_starters(process: Process, look: &Look) -> Result<Vec<Process>, Doubt> {
    let above = process.and_above();
    let mut starters = Vec::new();
    for (lower, upper) in above.iter().zip(above.iter().skip(1)) {
        if upper.session() == lower.session() {
            starters.push(*upper);
            continue;
        }
        match lower.terminal() {
            Some(terminal) => starters.extend(look.scan.makers(terminal).iter().copied().map(Process)),
            // Whatever else it does, it serves nobody.
            None if !is_known(*upper, look) && upper.serves(look) => {
                return Err(Doubt::SpeaksFor(process.0, upper.0));
            }
            None => {}
        }
        break;
    }
    starters.retain(|starter| *starter != process && !is_known(*starter, look));
    for starter in &starters {
        look.reached.borrow_mut().insert(starter.0);
        let doubtful = if starter.is_browser() { starter.serves(look) } else { starter.is_abroad(look) };
        if doubtful {
            return Err(Doubt::SpeaksFor(process.0, starter.0));
        }
    }
    starters.retain(|starter| !starter.is_browser());
    Ok(starters)
}

/// This process, the door by which a person came, or a service of the system.
fn is_known(process: Process, look: &Look) -> bool {
    process.0 == std::process::id() || process.is_door() || process.is_service(look)
}

/// A browser, which is connected to many: neither it nor the browsers above it serve anybody, and what drives them (by a
/// pipe, say) is nobody's way either. What a browser started itself doesn't drive it.
///
/// # Errors
/// Who may speak by it.
pub(crate) fn check_browser(process: Process, look: &Look) -> Result<(), Doubt> {
    let above = process.and_above();
    let browsers: Vec<Process> = above.into_iter().take_while(|process| process.is_browser()).collect();
    if let Some(serves) = browsers.iter().find(|browser| browser.serves(look)) {
        return Err(Doubt::Serves(serves.0));
    }
    let mut drivers = BTreeSet::new();
    for way in [Way::Hears, Way::Says] {
        drivers.extend(reach::direct(&browsers, way, look)?);
    }
    let is_own = |driver: Process| driver.and_above().iter().any(|above| above.is_browser());
    let drivers: Vec<Process> = drivers.into_iter().map(Process).filter(|driver| !is_own(*driver)).collect();
    for driver in &drivers {
        check_other(process, *driver, look)?;
    }
    let speaking = reach::all(&drivers, Way::Hears, u32::MAX, look)?;
    for other in speaking.into_iter().map(Process).filter(|other| !other.is_browser() && !is_own(*other)) {
        check_other(process, other, look)?;
    }
    process.check_explained(look)
}
