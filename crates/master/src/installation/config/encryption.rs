//! `tls:` how the listener is encrypted (D9): `self`, or the files of a certificate.

use std::fmt;
use std::path::PathBuf;

use serde::de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How the listener is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// By an authority of the installation's own, made at the first start and kept in the data directory.
    Own,
    /// By a certificate that somebody else gave.
    Files(CertificateFiles),
}

/// A certificate that somebody else gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// PEM: the certificate, then those that lead to a known authority.
    pub cert: PathBuf,
    /// PEM: the private key, for our eyes only.
    pub key: PathBuf,
}

/// The word for [`Encryption::Own`].
const OWN: &str = "self";

impl Serialize for Encryption {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Own => serializer.serialize_str(OWN),
            Self::Files(files) => files.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Encryption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// An untagged enum would only say that no variant fits.
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Encryption;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("'self', or {cert: FILE, key: FILE}")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Encryption, E> {
                if text == OWN {
                    return Ok(Encryption::Own);
                }
                Err(E::custom(format!("tls: '{text}' is neither 'self' nor {{cert: FILE, key: FILE}}")))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Encryption, A::Error> {
                let files = CertificateFiles::deserialize(MapAccessDeserializer::new(map));
                files.map(Encryption::Files).map_err(|e| A::Error::custom(format!("tls: {e}")))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn d09_both_forms_are_read_and_others_refused() {
        let read = |text: &str| Config::parse(text, "master.yaml").map(|config| config.tls);
        assert_eq!(read("tls: self\n").unwrap(), Some(Encryption::Own));
        let files = CertificateFiles { cert: "/c.pem".into(), key: "/k.pem".into() };
        assert_eq!(read("tls: {cert: /c.pem, key: /k.pem}\n").unwrap(), Some(Encryption::Files(files)));
        assert_eq!(read("tls: null\n").unwrap(), None);
        for (bad, why) in [
            ("tls: on\n", "expected 'self'"),
            ("tls: own\n", "neither 'self'"),
            ("tls: {cert: /c.pem}\n", "key"),
            ("tls: {cret: a}\n", "cret"),
        ] {
            let said = read(bad).expect_err("must be refused").to_string();
            assert!(said.starts_with("master.yaml: ") && said.contains(why), "{said}");
        }
    }
}
