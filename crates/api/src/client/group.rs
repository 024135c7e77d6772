//! Groups of accounts.

use serde_json::Value;

use super::{Client, Result};
use crate::group::{
    CreateGroup, FoundGroup, GroupDetails, GroupResponse, ListGroups, SearchGroups, UpdateGroup,
};

/// Rows asked for at once.
const PAGE: i64 = 500;

impl Client {
    /// All groups, or only those that an account is in.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn groups(&self, member: Option<i64>) -> Result<Vec<FoundGroup>> {
        let mut groups = Vec::new();
        loop {
            let offset = i64::try_from(groups.len()).ok();
            let search = SearchGroups { limit: Some(PAGE), offset, user_id: member, name: None };
            let page: ListGroups = self.post("/api/v1/groups/search", &search).await?;
            let last = page.groups.is_empty() || page.pagination.end_index >= page.pagination.total;
            groups.extend(page.groups);
            if last {
                return Ok(groups);
            }
        }
    }

    /// The group of that very name.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn group_by_name(&self, name: &str) -> Result<Option<FoundGroup>> {
        let search = SearchGroups { limit: Some(1), name: Some(name.to_owned()), ..SearchGroups::default() };
        let page: ListGroups = self.post("/api/v1/groups/search", &search).await?;
        Ok(page.groups.into_iter().next())
    }

    /// A group with its members.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn group(&self, id: i64) -> Result<GroupDetails> {
        self.get::<GroupResponse>(&format!("/api/v1/groups/{id}")).await.map(|answer| answer.group)
    }

    /// Makes a group.
    ///
    /// # Errors
    /// 403 for everybody but administrators, 409 when the name is taken.
    pub async fn create_group(&self, new: &CreateGroup) -> Result<GroupDetails> {
        self.post::<_, GroupResponse>("/api/v1/groups", new).await.map(|answer| answer.group)
    }

    /// Changes a group's name and members.
    ///
    /// # Errors
    /// 403 for everybody but administrators, 404 when there is none, 409 when somebody is in it already.
    pub async fn update_group(&self, id: i64, change: &UpdateGroup) -> Result<GroupDetails> {
        let path = format!("/api/v1/groups/{id}");
        self.put::<_, GroupResponse>(&path, change).await.map(|answer| answer.group)
    }

    /// Deletes a group.
    ///
    /// # Errors
    /// 403 for everybody but administrators, 404 when there is none.
    pub async fn delete_group(&self, id: i64) -> Result<()> {
        self.delete::<Value>(&format!("/api/v1/groups/{id}")).await.map(drop)
    }
}
