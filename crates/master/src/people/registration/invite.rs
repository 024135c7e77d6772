//! Inviting people to register. The code is told once; the database keeps its digest (R23).

use std::time::Duration;

use domain::audit::{Entry, Who};
use domain::authz::{InviteUser, Permit, SeeRegistrations};
use domain::registration::Invitation;
use domain::user::email;

use super::{Registrations, invalid};
use crate::mail::Letter;
use crate::{Error, secret};

/// Days that an invitation is good for, unless told otherwise.
const DAYS: i64 = 7;
/// The longest time.
const DAYS_MAX: i64 = 90;

impl Registrations {
    /// Makes an invitation, and mails it where there is an address to. Gives its code.
    ///
    /// # Errors
    /// When the address is none, or the number of days can't be meant.
    pub async fn invite(
        &self,
        permit: Permit<InviteUser>,
        address: Option<&str>,
        days: Option<i64>,
    ) -> Result<(String, Invitation), Error> {
        let parts = &*self.parts;
        let address = address.map(str::trim).filter(|address| !address.is_empty());
        let email = address.map(email).transpose().map_err(|e| invalid(&e))?;
        let days = days.unwrap_or(DAYS);
        let seconds = u64::try_from(days).ok().filter(|_| (1..=DAYS_MAX).contains(&days));
        let seconds = seconds.ok_or_else(|| Error::Invalid(format!("days: from 1 to {DAYS_MAX}")))? * 86_400;
        let code = secret::token(parts.entropy.as_ref(), "mui");
        let now = parts.clock.now();
        let invitation = Invitation {
            id: 0,
            email,
            created_by: permit.actor(),
            created_at: now,
            expires_at: now.plus(Duration::from_secs(seconds)),
            used_by: None,
            used_at: None,
        };
        let mut tx = parts.store.write().await?;
        let invitation = store::invitation::insert(&mut tx, &invitation, &secret::digest(&code)).await?;
        if let Some(email) = &invitation.email {
            let letter = Letter::invited(parts.mails.installation(), &code, invitation.expires_at);
            parts.mails.put(&mut tx, email, &letter, now).await?;
        }
        let entry = Entry::done(permit.by(), "user.invite", Who::named("invitation", &invitation.id, ""));
        let facts = serde_json::json!({
            "email": invitation.email,
            "expiresAt": invitation.expires_at.rfc3339(),
        });
        tx.commit(&entry.made(facts), now).await?;
        parts.mails.wake();
        Ok((code, invitation))
    }

    /// A page of the invitations, newest first; never their codes.
    ///
    /// # Errors
    /// What `page` answers, or the database.
    pub async fn invitations<P>(
        &self,
        _permit: &Permit<SeeRegistrations>,
        page: impl FnOnce(i64) -> Result<(P, i64, i64), Error>,
    ) -> Result<(Vec<Invitation>, P), Error> {
        let mut conn = self.parts.store.read().await?;
        let (page, offset, limit) = page(store::invitation::count(&mut conn).await?)?;
        Ok((store::invitation::list(&mut conn, store::Begin::At(offset), limit).await?, page))
    }
}
