//! The log of this process: on standard error, and the latest of it in memory, where a master's administrators read it.

use std::fmt::{self, Write as _};
use std::io::{IsTerminal as _, Stderr, stderr};

use master::own_log::{Controls, Level, OwnLog};
use master::system::{Clock as _, SystemClock};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::Layer as Printing;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Our own crates. What others say in detail may hold what passes through them, so that isn't to be had from afar.
const OWN: [&str; 8] = ["agent", "launch", "link", "master", "muster", "neighbour", "store", "web"];

type Filtered = tracing_subscriber::layer::Layered<reload::Layer<EnvFilter, Registry>, Registry>;
type Printer = Printing<
    Filtered,
    tracing_subscriber::fmt::format::DefaultFields,
    tracing_subscriber::fmt::format::Format,
    fn() -> Stderr,
>;

/// Begins to log.
pub(super) fn start() -> OwnLog {
    let filter = EnvFilter::try_from_env("MUSTER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, filtering) = reload::Layer::new(filter);
    let printer: Printer =
        Printing::default().with_writer(stderr as fn() -> Stderr).with_ansi(stderr().is_terminal());
    let (printer, printing) = reload::Layer::new(printer);
    let log = OwnLog::default();
    let logger = Registry::default().with(filter).with(printer).with(Keeper(log.clone()));
    // A second role in one process would find it set; that is as good.
    let _ = logger.try_init();
    log.controlled(Handles { filtering, printing })
}

/// Changes what is logged, and how.
struct Handles {
    filtering: reload::Handle<EnvFilter, Registry>,
    printing: reload::Handle<Printer, Filtered>,
}

impl Controls for Handles {
    fn set_level(&self, level: Level) -> bool {
        self.filtering.reload(EnvFilter::new(filter(level))).is_ok()
    }

    fn set_color(&self, color: bool) -> bool {
        self.printing.modify(|printer| printer.set_ansi(color)).is_ok()
    }
}

/// So much of what we say ourselves, and of others no more than what happens.
fn filter(level: Level) -> String {
    let mut filter = level.max(Level::Info).as_str().to_owned();
    if level < Level::Info {
        for name in OWN {
            // Writing to a String can't fail.
            let _ = write!(filter, ",{name}={}", level.as_str());
        }
    }
    filter
}

/// Keeps what is said.
struct Keeper(OwnLog);

impl<S: Subscriber> Layer<S> for Keeper {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = match *event.metadata().level() {
            tracing::Level::TRACE => Level::Trace,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::INFO => Level::Info,
            tracing::Level::WARN => Level::Warning,
            tracing::Level::ERROR => Level::Error,
        };
        let Text { message, fields } = text;
        self.0.note(SystemClock.now(), level, &format!("{}: {message}{fields}", event.metadata().target()));
    }
}

/// A message and what stands behind it.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String can't fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_in_detail_is_our_own() {
        assert_eq!(filter(Level::Warning), "warn");
        assert_eq!(filter(Level::Info), "info");
        let detailed = filter(Level::Trace);
        assert!(detailed.starts_with("info,agent=trace,") && detailed.ends_with(",web=trace"), "{detailed}");
    }

    #[test]
    fn lines_hold_message_and_fields() {
        let log = OwnLog::default();
        let logger = Registry::default().with(Keeper(log.clone()));
        tracing::subscriber::with_default(logger, || {
            tracing::warn!(agent = "node", "it is {}", "gone");
        });
        let lines = log.latest(9);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].level, Level::Warning);
        assert!(lines[0].text.ends_with(": it is gone agent=\"node\""), "{}", lines[0].text);
    }
}
