//! Pages of tasks that were read a moment ago: who asks again before anything has changed is answered from memory, as `GET
//! /api/v1/me` is. Programs that show a list ask for the same page over and over.
//!
//! What is remembered is good as long as no commit was made since it was read (`Store::revision`); and no longer than a
//! second, for whoever changes the tables behind the master's back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::task::Task;
use quick_cache::sync::Cache;
use store::task::Filter;
use store::{Conn, Store};

use crate::Error;

/// So many lists are remembered, …
const LISTS: usize = 64;
/// … those whose pages have no more rows than that, …
const ROWS: usize = 50;
/// … and for so long.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Pages(Arc<Cache<Filter, Known>>);

#[derive(Clone)]
struct Known {
    revision: u64,
    read: Instant,
    /// How many match.
    total: i64,
    /// The page that was read last: offset, limit and rows.
    page: Option<(i64, i64, Arc<[Task]>)>,
}

impl Default for Pages {
    fn default() -> Self {
        Self(Arc::new(Cache::new(LISTS)))
    }
}

impl Pages {
    /// A page of the tasks that match; `page` turns their number into offset and limit.
    pub(super) async fn read<P>(
        &self,
        store: &Store,
        filter: &Filter,
        page: impl FnOnce(i64) -> Result<(P, i64, i64), Error>,
    ) -> Result<(Arc<[Task]>, P), Error> {
        // Asked for before anything is read.
        let revision = store.revision();
        let is_good = |known: &Known| Some(known.revision) == revision && known.read.elapsed() < GOOD_FOR;
        let known = self.0.get(filter).filter(is_good);
        let (mut conn, read) = (None, known.as_ref().map_or_else(Instant::now, |known| known.read));
        let total = match &known {
            Some(known) => known.total,
            None => store::task::count(connected(&mut conn, store).await?, filter).await?,
        };
        let (page, offset, limit) = page(total)?;
        if let Some((_, _, rows)) =
            known.and_then(|known| known.page).filter(|(at, most, _)| (*at, *most) == (offset, limit))
        {
            return Ok((rows, page));
        }
        let rows: Arc<[Task]> =
            store::task::list(connected(&mut conn, store).await?, filter, offset, limit).await?.into();
        if let Some(revision) = revision {
            let page = (rows.len() <= ROWS).then(|| (offset, limit, Arc::clone(&rows)));
            self.0.insert(filter.clone(), Known { revision, read, total, page });
        }
        Ok((rows, page))
    }
}

async fn connected<'c>(conn: &'c mut Option<Conn>, store: &Store) -> Result<&'c mut Conn, Error> {
    Ok(match conn {
        Some(conn) => conn,
        None => conn.insert(store.read().await?),
    })
}
