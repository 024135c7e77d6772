//! `muster token …`: access tokens, for programs that act as somebody.

use anyhow::{Context, Result, bail};
use api::client::ClientError;
use api::token::{CreateToken, PatchToken, TokenInfo};
use clap::{Args, Subcommand, ValueEnum};

use super::user::find;
use crate::auth::session::Session;
use crate::auth::store::Store;
use crate::auth::{login, password, trust};
use crate::failure::Failure;
use crate::output;
use crate::table::{Format, Table, time, yes_no};
use crate::target::Target;

/// What can be done with access tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a token, and print its secret this once
    Create(CreateArgs),
    /// List your tokens, or those of another user
    #[command(visible_alias = "ls")]
    List {
        /// The user [default: yourself]
        name: Option<String>,
        /// Those of all users; for administrators
        #[arg(short, long, conflicts_with = "name")]
        all: bool,
        /// Those too that have ended or were revoked
        #[arg(long)]
        show_inactive: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Show tokens
    Describe {
        /// Ids, as `token list` shows them
        #[arg(required = true)]
        ids: Vec<i64>,
        #[command(flatten)]
        format: Format,
    },
    /// Make tokens worthless, at once and for good
    Revoke {
        /// Ids, as `token list` shows them
        #[arg(required = true)]
        ids: Vec<i64>,
    },
    /// Say anew what a token is for
    Edit {
        /// Its id
        id: i64,
        /// What it is for; empty for nothing
        #[arg(long, short, value_name = "TEXT")]
        description: String,
    },
    /// Act as the user of a token from now on
    Login {
        /// Read the token from standard input
        #[arg(long)]
        token_stdin: bool,
    },
}

/// Arguments of `token create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The user that it acts as [default: yourself]
    name: Option<String>,
    /// What it is for
    #[arg(long, short, value_name = "TEXT")]
    description: Option<String>,
    /// Days until it ends, or `max` [default: what the master says]
    #[arg(long, short, value_name = "DAYS", value_parser = lifespan)]
    expires: Option<String>,
    /// What it is good for
    #[arg(long, value_enum, default_value_t = Scope::Full)]
    scope: Scope,
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scope {
    /// Reading alone
    Read,
    /// All that its user may do
    Full,
}

/// Days as the master takes them: hours, or -1 for the longest.
fn lifespan(text: &str) -> Result<String, String> {
    if text == "max" {
        return Ok("-1".to_owned());
    }
    match text.parse::<u32>() {
        Ok(days) if days > 0 => Ok(format!("{}h", u64::from(days) * 24)),
        _ => Err("give a number of days, or max".to_owned()),
    }
}

/// Carries out the verb that was given.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    if let Verb::Login { token_stdin } = verb {
        return log_in(token_stdin, target).await;
    }
    let session = &mut Session::open(target).await?;
    match verb {
        Verb::Login { .. } => Ok(()),
        Verb::Create(args) => create(session, args).await,
        Verb::List { name, all, show_inactive, format } => {
            let name = match name {
                Some(name) => Some(name),
                None if all => None,
                None => Some(session.call(async |client| client.me().await).await?.user.username),
            };
            let found = session.call(async |client| client.tokens(name.as_deref(), show_inactive).await);
            show(&found.await.context("can't list the tokens")?, format)
        }
        Verb::Describe { ids, format } => {
            let found = session.call(async |client| client.tokens_by_id(&ids).await).await?;
            if let Some(id) = ids.iter().find(|id| !found.iter().any(|token| token.id == **id)) {
                bail!(Failure::NotFound(format!("there is no token {id}, or it is not yours")));
            }
            show(&found, format)
        }
        Verb::Revoke { ids } => {
            for id in ids {
                let change = PatchToken { set_revoked: Some(true), ..PatchToken::default() };
                let revoked = session.call(async |client| client.patch_token(id, &change).await).await;
                revoked.with_context(|| format!("can't revoke token {id}"))?;
                output::note(&format!("Token {id} is worthless now."));
            }
            Ok(())
        }
        Verb::Edit { id, description } => {
            let change = PatchToken { description: Some(description), ..PatchToken::default() };
            let changed = session.call(async |client| client.patch_token(id, &change).await).await;
            changed.with_context(|| format!("can't edit token {id}"))?;
            output::note(&format!("Token {id} was changed."));
            Ok(())
        }
    }
}

/// The secret alone goes to standard output, so that it can be sent into a file.
async fn create(session: &mut Session, args: CreateArgs) -> Result<()> {
    let user = match &args.name {
        Some(name) => find(session, name).await.with_context(|| format!("can't make a token for {name}"))?,
        None => session.call(async |client| client.me().await).await?.user,
    };
    let new = CreateToken {
        user_id: Some(user.id),
        lifespan: args.expires,
        description: args.description,
        scope: args.scope.to_possible_value().map(|scope| scope.get_name().to_owned()),
    };
    let made = session.call(async |client| client.create_token(&new).await).await;
    let made = made.map_err(|error| match error.to_string() {
        // The master says only that there is a longest one.
        text if text.contains("max token lifespan") => error.context(
            "`--expires max` gives the longest that this master allows (security.token.max_lifespan_days)",
        ),
        _ => error,
    });
    let made = made.with_context(|| format!("can't make a token for {}", user.username))?;
    output::line(&made.token)?;
    output::note(&format!(
        "Token {} acts as {} until {}, and is shown this once. A program gives it in MUSTER_TOKEN.",
        made.token_id,
        user.username,
        time(&made.token_info.expiry)
    ));
    Ok(())
}

/// The columns of `det`, and after them ours.
fn show(tokens: &[TokenInfo], format: Format) -> Result<()> {
    let mut table = Table::new(&[
        "ID",
        "User ID",
        "Description",
        "Created At",
        "Expires At",
        "Revoked",
        "Token Type",
        "Username",
        "Scope",
        "Last Used",
    ]);
    for token in tokens {
        table.row([
            token.id.to_string(),
            token.user_id.to_string(),
            token.description.clone(),
            time(&token.created_at),
            time(&token.expiry),
            yes_no(token.revoked),
            token.token_type.trim_start_matches("TOKEN_TYPE_").to_owned(),
            token.username.clone(),
            token.scope.clone(),
            token.last_used_at.as_deref().map(time).unwrap_or_default(),
        ]);
    }
    table.print(format, tokens)
}

/// Keeps a token in place of a session's, and makes its user the active one.
async fn log_in(stdin: bool, target: &Target) -> Result<()> {
    let token = password::token(stdin)?;
    let client = trust::client(target).await?.with_token(Some(token.clone()));
    login::warn_of_plain_text(&client);
    let user = match client.me().await {
        Ok(me) => me.user.username,
        Err(ClientError::Api { status: 401, message }) => {
            bail!(Failure::NotLoggedIn(format!("the token is not accepted: {message}")))
        }
        Err(error) => return Err(error.into()),
    };
    Store::new(target.config_dir.clone(), &target.address).update(|kept| {
        kept.tokens.insert(user.clone(), token);
        kept.active_user = Some(user.clone());
    })?;
    output::note(&format!(
        "You act as {user} now, by that token, in place of a session that was kept here: `muster user login {user}` begins one."
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_sent_as_hours() {
        assert_eq!(lifespan("2"), Ok("48h".to_owned()));
        assert_eq!(lifespan("max"), Ok("-1".to_owned()));
        for bad in ["0", "-1", "2d", "", "never"] {
            assert!(lifespan(bad).is_err(), "{bad}");
        }
    }
}
