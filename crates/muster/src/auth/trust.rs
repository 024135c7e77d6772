//! First contact with a master over https: who vouches for it, and what is asked of the person once (D9).

use anyhow::{Result, bail};
use api::client::{Client, ClientError, Refused, Shown, Trust};

use super::known::{Known, KnownMasters};
use super::password::can_ask;
use crate::failure::Failure;
use crate::output;
use crate::target::Target;
use crate::way;

/// A client of the target's master, without a token. Over https it is settled first that the master is the right one;
/// until then nothing but a greeting is said to it.
pub(crate) async fn client(target: &Target) -> Result<Client> {
    let to = |trust: Trust| Client::trusting(target.address.clone(), None, trust);
    if !target.address.is_https() {
        return way::client(&target.address);
    }
    if let Some(fingerprint) = target.fingerprint {
        return Ok(to(Trust::pinned(fingerprint))?);
    }
    let system = match &target.cert_file {
        Some(file) => Trust::with_file(file)?,
        None => Trust::default(),
    };
    let masters = KnownMasters::new(target.config_dir.clone());
    match masters.find(&target.address)? {
        Some(Known::Pinned(pin)) if target.cert_file.is_none() => return Ok(to(Trust::pinned(pin))?),
        Some(Known::System) => return Ok(to(system)?),
        _ => {}
    }
    let client = to(system)?;
    match client.info().await {
        Err(ClientError::Untrusted { shown, .. }) if shown.refused == Some(Refused::Unknown) => {
            first_contact(target, &masters, &shown).await
        }
        Err(error @ (ClientError::Untrusted { .. } | ClientError::Unreachable { .. })) => Err(error.into()),
        // Whatever it answers: it is the right one.
        _ => {
            if target.cert_file.is_none() {
                remember(&masters, target, Known::System);
            }
            Ok(client)
        }
    }
}

/// Nobody vouches for the master. The person may, by comparing a fingerprint.
async fn first_contact(target: &Target, masters: &KnownMasters, shown: &Shown) -> Result<Client> {
    let (address, fingerprint) = (&target.address, shown.fingerprint());
    let found = format!(
        "The certificate of the master at {address} is by an authority that is not known here.\n\
         That authority's fingerprint is {fingerprint}."
    );
    if target.cert_file.is_some() {
        // The commonest way to make a certificate makes one that is an authority's and the server's own at once.
        bail!(Failure::Untrusted(format!(
            "{found}\nThe file in MUSTER_MASTER_CERT_FILE doesn't vouch for it. If it is the master's own certificate, made with \
             `openssl req -x509`, it counts as an authority's (CA:TRUE), which no server may show: make it with `-addext \
             basicConstraints=critical,CA:FALSE`, or leave the file out and give the fingerprint with --master-fingerprint"
        )));
    }
    if !can_ask() {
        bail!(Failure::Untrusted(format!(
            "{found}\nIf it is the one that the master printed when it started, give it with --master-fingerprint or \
             MUSTER_MASTER_FINGERPRINT, or the authority's certificate with MUSTER_MASTER_CERT_FILE"
        )));
    }
    output::note(&found);
    output::note("The master prints it when it starts: ask somebody who can read its log, not the network.");
    if !output::confirm("Is it the same, and shall it be trusted from now on? [y/N] ")? {
        bail!(Failure::Untrusted(format!("the master at {address} is not trusted; nothing was sent to it")));
    }
    let client = Client::trusting(address.clone(), None, Trust::pinned(fingerprint))?;
    if let Err(error @ (ClientError::Untrusted { .. } | ClientError::Unreachable { .. })) =
        client.info().await
    {
        return Err(error.into());
    }
    remember(masters, target, Known::Pinned(fingerprint));
    Ok(client)
}

fn remember(masters: &KnownMasters, target: &Target, known: Known) {
    if let Err(error) = masters.set(&target.address, Some(known)) {
        // It works without; the next run asks again.
        output::note(&format!("{error:#}"));
    }
}
