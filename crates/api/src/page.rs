//! Paging of lists (contract "identity", section 5).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a page lies in its list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pagination {
    /// Rows that were skipped, as asked.
    pub offset: i64,
    /// Most rows, as asked.
    pub limit: i64,
    /// Index of the first row.
    pub start_index: i64,
    /// Index after the last row.
    pub end_index: i64,
    /// Rows in the whole list.
    pub total: i64,
}

/// `offset` and `limit` of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PageQuery {
    /// Rows to skip; negative counts from the end.
    pub offset: i64,
    /// Rows wanted; 0 is all.
    pub limit: i64,
}

/// The rows asked for lie outside the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfBounds;

impl PageQuery {
    /// Applies the query to a list of `total` rows, giving at most `cap` of them (R47).
    ///
    /// # Errors
    /// When the start lies outside the list.
    pub fn resolve(self, total: i64, cap: i64) -> Result<Pagination, OutOfBounds> {
        let start = if self.offset < 0 { total + self.offset } else { self.offset };
        if start < 0 || start > total || self.limit < 0 {
            return Err(OutOfBounds);
        }
        let wanted = if self.limit == 0 { cap } else { self.limit.min(cap) };
        Ok(Pagination {
            offset: self.offset,
            limit: self.limit,
            start_index: start,
            end_index: start + wanted.min(total - start),
            total,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_as_the_clients_expect() {
        let page = |offset, limit| PageQuery { offset, limit }.resolve(10, 100);
        assert_eq!(page(0, 0).map(|p| (p.start_index, p.end_index)), Ok((0, 10)));
        assert_eq!(page(-3, 2).map(|p| (p.start_index, p.end_index)), Ok((7, 9)));
        assert_eq!(page(10, 0).map(|p| (p.start_index, p.end_index)), Ok((10, 10)));
        assert_eq!(page(11, 0), Err(OutOfBounds));
        assert_eq!(page(-11, 0), Err(OutOfBounds));
    }
}
