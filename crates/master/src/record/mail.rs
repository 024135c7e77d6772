//! Mail: put into the database with the change that it tells of, sent in the background. Nobody waits for the server
//! that takes it.

mod letter;

use std::sync::Arc;
use std::time::Duration;

use domain::time::Timestamp;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls as Encryption, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use store::mail::Mail;
use store::{Store, Tx};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use letter::Letter;

use crate::Error;
use crate::config::{Config, Smtp, Tls};
use crate::system::Clock;

/// How often the queue is looked at when nobody says that there is something new.
const LOOK: Duration = Duration::from_secs(60);
/// The wait after the first failure; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 60 * 60);
/// After this time a mail is given up.
const PATIENCE: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Mails of one round.
const BATCH: i64 = 100;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// The queue.
#[derive(Clone)]
pub(crate) struct Mails {
    store: Store,
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
}

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    /// No mail can be made of it.
    #[error("{0}")]
    Malformed(String),
    /// Nobody took it; the same may happen to all others.
    #[error("{0}")]
    Unreachable(String),
    /// The server didn't want this one.
    #[error("{0}")]
    Refused(String),
}

impl Mails {
    pub(crate) fn new(store: Store, config: Arc<Config>, clock: Arc<dyn Clock>) -> Self {
        Self { store, config, clock, wake: Arc::default() }
    }

    /// What the installation is called in a letter.
    pub(crate) fn installation(&self) -> &str {
        let name = self.config.cluster_name.trim();
        if name.is_empty() { "Muster" } else { name }
    }

    /// Puts a letter into the queue; without a server to take it there is no queue. Call [`Self::wake`] after the commit.
    pub(crate) async fn put(
        &self,
        tx: &mut Tx,
        recipient: &str,
        letter: &Letter,
        now: Timestamp,
    ) -> Result<(), Error> {
        if self.config.smtp.is_some() {
            store::mail::insert(tx, recipient, &one_line(&letter.subject), &letter.body, now).await?;
        }
        Ok(())
    }

    /// Has the queue looked at.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Sends what is due until the master stops.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Some(smtp) = self.config.smtp.clone() else { return };
        loop {
            let round = async {
                if let Err(error) = self.send_due(&smtp).await {
                    tracing::warn!(%error, "the queue of mails could not be worked off");
                }
                let _ = tokio::time::timeout(LOOK, self.wake.notified()).await;
            };
            // A mail that is cut short is sent again after the next start.
            tokio::select! {
                () = stop.cancelled() => return,
                () = round => {}
            }
        }
    }

    async fn send_due(&self, smtp: &Smtp) -> Result<(), Error> {
        let mut conn = self.store.read().await?;
        let due = store::mail::due(&mut conn, self.clock.now(), BATCH).await?;
        drop(conn);
        if due.is_empty() {
            return Ok(());
        }
        let transport = transport(smtp).await;
        for mail in due {
            let sent = match &transport {
                Ok(transport) => send(transport, smtp, &mail).await,
                Err(reason) => Err(Unsent::Unreachable(reason.clone())),
            };
            let stop = matches!(sent, Err(Unsent::Unreachable(_)));
            self.settle(&mail, sent).await?;
            if stop {
                break;
            }
        }
        Ok(())
    }

    async fn settle(&self, mail: &Mail, sent: Result<(), Unsent>) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.store.write().await?;
        let over = now.since(mail.created_at) >= PATIENCE;
        match sent {
            Ok(()) => store::mail::delete(&mut tx, mail.id).await?,
            Err(reason) if over || matches!(reason, Unsent::Malformed(_)) => {
                tracing::error!(mail = mail.id, %reason, subject = mail.subject, "a mail was given up");
                store::mail::delete(&mut tx, mail.id).await?;
            }
            Err(reason) => {
                let wait = wait(mail.attempts);
                tracing::warn!(mail = mail.id, %reason, "a mail could not be sent; again in {} s", wait.as_secs());
                store::mail::set_failed(&mut tx, mail.id, now.plus(wait)).await?;
            }
        }
        tx.commit_unaudited("what the mail tells of was noted").await?;
        Ok(())
    }
}

fn wait(attempts: i64) -> Duration {
    let doubled = u32::try_from(attempts).ok().and_then(|n| 2_u32.checked_pow(n));
    doubled.and_then(|times| FIRST_WAIT.checked_mul(times)).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
}

/// No subject ends its header.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The password is read each time, so that it can be changed.
async fn transport(smtp: &Smtp) -> Result<Transport, String> {
    let parameters = || TlsParameters::new(smtp.host.clone()).map_err(|e| e.to_string());
    let encryption = match smtp.tls {
        Tls::None => Encryption::None,
        Tls::Starttls => Encryption::Required(parameters()?),
        Tls::Tls => Encryption::Wrapper(parameters()?),
    };
    let mut builder =
        Transport::builder_dangerous(&smtp.host).port(smtp.port()).tls(encryption).timeout(Some(TIMEOUT));
    if let (Some(username), Some(file)) = (&smtp.username, &smtp.password_file) {
        let password = tokio::fs::read_to_string(file).await;
        let password = password.map_err(|e| format!("smtp.password_file: {}: {e}", file.display()))?;
        builder = builder.credentials(Credentials::new(username.clone(), password.trim().to_owned()));
    }
    Ok(builder.build())
}

async fn send(transport: &Transport, smtp: &Smtp, mail: &Mail) -> Result<(), Unsent> {
    let message = message(smtp, mail)?;
    match transport.send(message).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_permanent() || error.is_transient() => Err(Unsent::Refused(error.to_string())),
        Err(error) => Err(Unsent::Unreachable(error.to_string())),
    }
}

fn message(smtp: &Smtp, mail: &Mail) -> Result<Message, Unsent> {
    let malformed = |error: &dyn std::fmt::Display| Unsent::Malformed(error.to_string());
    let from: Mailbox = smtp.from.parse().map_err(|e| malformed(&e))?;
    let to = mail.recipient.parse().map_err(|e| malformed(&e))?;
    Message::builder()
        .from(from)
        .to(Mailbox::new(None, to))
        .subject(&mail.subject)
        .header(ContentType::TEXT_PLAIN)
        .body(mail.body.clone())
        .map_err(|e| malformed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_six_hours() {
        let minutes = |attempts| wait(attempts).as_secs() / 60;
        assert_eq!((minutes(0), minutes(1), minutes(5), minutes(20), minutes(99)), (1, 2, 32, 360, 360));
    }

    #[test]
    fn x11_nothing_that_people_write_becomes_a_header() {
        let smtp = Smtp { from: "Muster <muster@lab>".to_owned(), ..Smtp::default() };
        let mail = |recipient: &str, subject: &str| Mail {
            id: 1,
            recipient: recipient.to_owned(),
            subject: one_line(subject),
            body: "Zoë\n.\nBcc: b@lab\n".to_owned(),
            created_at: Timestamp(0),
            attempts: 0,
        };
        let good = message(&smtp, &mail("a@lab", "Zoë\r\nBcc: x@lab")).expect("a message").formatted();
        let text = String::from_utf8(good).expect("7 bit");
        let (headers, _) = text.split_once("\r\n\r\n").expect("headers");
        assert!(!headers.contains("\r\nBcc") && headers.contains("utf-8"), "{headers}");
        for bad in ["a@lab\r\nBcc: x@lab", "a@lab, x@lab", "", "<a@lab>"] {
            assert!(message(&smtp, &mail(bad, "x")).is_err(), "{bad:?}");
        }
    }
}
