//! Access tokens.

use super::{Client, Result, query};
use crate::token::{CreateToken, CreatedToken, ListTokens, PatchToken, PatchedToken, TokenInfo};

/// Rows asked for at once.
const PAGE: i64 = 1000;

impl Client {
    /// Makes a token; only the answer ever holds its secret.
    ///
    /// # Errors
    /// 403 when it is to be somebody else's.
    pub async fn create_token(&self, new: &CreateToken) -> Result<CreatedToken> {
        self.post("/api/v1/tokens", new).await
    }

    /// The tokens of one account, or all that the caller may see; those that have ended only when asked for.
    ///
    /// # Errors
    /// 403 when they are somebody else's, 404 when there is no such account.
    pub async fn tokens(&self, username: Option<&str>, ended_too: bool) -> Result<Vec<TokenInfo>> {
        let mut asked = vec![("showInactive", ended_too.to_string())];
        asked.extend(username.map(|name| ("username", name.to_owned())));
        self.all_tokens(asked).await
    }

    /// Those of these tokens that the caller may see, whatever their states.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn tokens_by_id(&self, ids: &[i64]) -> Result<Vec<TokenInfo>> {
        let ids = ids.iter().map(|id| ("tokenIds", id.to_string()));
        self.all_tokens(ids.chain([("showInactive", true.to_string())]).collect()).await
    }

    async fn all_tokens(&self, asked: Vec<(&str, String)>) -> Result<Vec<TokenInfo>> {
        let mut tokens = Vec::new();
        loop {
            let mut parameters = asked.clone();
            parameters.extend([("offset", tokens.len().to_string()), ("limit", PAGE.to_string())]);
            let page: ListTokens = self.get(&format!("/api/v1/tokens{}", query(parameters))).await?;
            let last = page.token_info.is_empty() || page.pagination.end_index >= page.pagination.total;
            tokens.extend(page.token_info);
            if last {
                return Ok(tokens);
            }
        }
    }

    /// Describes a token anew or revokes it.
    ///
    /// # Errors
    /// 404 when there is none, or it is somebody else's; 400 when it has ended.
    pub async fn patch_token(&self, id: i64, change: &PatchToken) -> Result<TokenInfo> {
        let path = format!("/api/v1/tokens/{id}");
        self.patch::<_, PatchedToken>(&path, change).await.map(|answer| answer.token_info)
    }
}
