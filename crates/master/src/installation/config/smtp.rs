//! `smtp:` the server that takes our mail.

use std::net::IpAddr;
use std::path::PathBuf;

use lettre::message::Mailbox;
use serde::{Deserialize, Serialize};

/// The server that takes our mail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Smtp {
    /// Its name or address.
    pub host: String,
    /// Its port; by default the usual one for `tls`.
    pub port: Option<u16>,
    /// Who the mail is from: `muster@example.org` or `Muster <muster@example.org>`.
    pub from: String,
    /// The account there, when one is needed.
    pub username: Option<String>,
    /// A file with that account's password. There is no key for the password itself.
    pub password_file: Option<PathBuf>,
    /// How the connection is encrypted.
    pub tls: Tls,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Not at all.
    None,
    /// After the first words, and never without.
    #[default]
    Starttls,
    /// From the beginning.
    Tls,
}

impl Smtp {
    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            Tls::None => 25,
            Tls::Starttls => 587,
            Tls::Tls => 465,
        })
    }

    /// What is wrong: the key, and why.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.host.is_empty() || self.host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("host: name the server that takes our mail".to_owned());
        }
        if self.from.is_empty() {
            return Err("from: say who the mail is from, such as Muster <muster@lab.example>".to_owned());
        }
        self.from
            .parse::<Mailbox>()
            .map_err(|e| format!("from: '{}' can't send mail: {e}", self.from.escape_debug()))?;
        if self.username.is_some() != self.password_file.is_some() {
            return Err("username: give username and password_file, or neither of them".to_owned());
        }
        if self.username.is_some() && self.tls == Tls::None && !self.is_near() {
            return Err("tls: the password would travel in the clear: use starttls or tls".to_owned());
        }
        Ok(())
    }

    fn is_near(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::Tls;

    #[test]
    fn x11_mail_is_configured_without_secrets_in_the_file() {
        let parse = |text: &str| Config::parse(&format!("smtp: {text}\n"), "master.yaml");
        let plain = parse("{host: mail.lab, from: muster@lab}").expect("valid").smtp.expect("there");
        assert_eq!((plain.tls, plain.port()), (Tls::Starttls, 587));
        let full = "{host: mail.lab, port: 2525, from: Muster <muster@lab>, username: m, password_file: /x, tls: tls}";
        assert_eq!(parse(full).expect("valid").smtp.expect("there").port(), 2525);
        for (text, reason) in [
            ("{from: muster@lab}", "smtp.host"),
            ("{host: mail.lab}", "smtp.from"),
            ("{host: mail.lab, from: 'a\\nb@lab'}", "smtp.from"),
            ("{host: mail.lab, from: muster@lab, username: m}", "smtp.username"),
            ("{host: mail.lab, from: muster@lab, password: secret}", "password"),
            ("{host: mail.lab, from: muster@lab, tls: none, username: m, password_file: /x}", "smtp.tls"),
            ("{host: mail.lab, from: muster@lab, tls: maybe}", "tls"),
        ] {
            let said = parse(text).expect_err(text).to_string();
            assert!(said.contains(reason), "{said}");
        }
    }
}
