//! The address of a master in its one canonical form, which tokens are kept under.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::is_loopback;

/// The port that a master listens on unless told otherwise.
const DEFAULT_PORT: u16 = 8080;

/// `scheme://host:port` of a master. Two spellings of one address are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    https: bool,
    host: String,
    port: u16,
}

/// The text is no address of a master.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a master's address: {reason}; write it like http://127.0.0.1:8080")]
pub struct InvalidAddress {
    text: String,
    reason: String,
}

impl Address {
    /// The way there is encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host, where it is an address and no name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The same as `http`, for a way that needs no encryption: the master's own socket. Whoever has that is on its machine.
    pub(super) fn by_socket(&self) -> String {
        let host = if self.is_loopback() { &self.host } else { "localhost" };
        format!("http://{host}:{}", self.port)
    }

    /// The master is on this machine and can't be reached from another.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    /// Without a scheme it is `http` and port 8080, as Determined's clients read it; with one, the scheme's own port.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let refuse = |reason: &str| InvalidAddress { text: text.to_owned(), reason: reason.to_owned() };
        let trimmed = text.trim();
        let has_scheme = trimmed.contains("://");
        let full = if has_scheme { trimmed.to_owned() } else { format!("http://{trimmed}") };
        let url = reqwest::Url::parse(&full).map_err(|e| refuse(&e.to_string()))?;
        let https = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(refuse(&format!("{other} is neither http nor https"))),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("it must not hold a user name or password"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("it must end after the port"));
        }
        let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| refuse("the host is missing"))?;
        let port = match url.port() {
            Some(port) => port,
            // `:80` is dropped by the parser as the scheme's own.
            None if has_scheme || trimmed.trim_end_matches('/').ends_with(":80") => {
                if https {
                    443
                } else {
                    80
                }
            }
            None => DEFAULT_PORT,
        };
        Ok(Self { https, host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Address>().expect("valid").to_string()
    }

    #[test]
    fn spellings_of_one_address_agree() {
        for text in ["LOCALHOST", "localhost:8080", "http://localhost:8080/", " localhost/ "] {
            assert_eq!(canonical(text), "http://localhost:8080", "{text}");
        }
        assert_eq!(canonical("http://Example.org"), "http://example.org:80");
        assert_eq!(canonical("example.org:80"), "http://example.org:80");
        assert_eq!(canonical("https://example.org"), "https://example.org:443");
        assert_eq!(canonical("[::1]:9"), "http://[::1]:9");
        assert_ne!(canonical("localhost"), canonical("127.0.0.1"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "ftp://a", "http://u:p@a", "http://a/b", "http://a?x=1", "a:99999", "unix:/x"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_told_apart() {
        let loopback = |text: &str| text.parse::<Address>().expect("valid").is_loopback();
        assert!(loopback("127.0.0.9") && loopback("[::1]") && loopback("localhost"));
        assert!(!loopback("10.0.0.1") && !loopback("localhost.example.org"));
        let socket = |text: &str| text.parse::<Address>().expect("valid").by_socket();
        assert_eq!(socket("https://10.0.0.1:9"), "http://localhost:9");
        assert_eq!(socket("http://[::1]:9"), "http://[::1]:9");
    }
}
