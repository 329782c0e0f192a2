//! A list of the server, a page at a time, so that a long one is never held as a whole. It does not
//! know what the items are.

use serde_json::Value;

use super::{Client, Query};
use crate::exit::Failure;

/// The largest page that is asked for at once.
const PAGE: u32 = 500;

/// A list that is being read.
#[derive(Debug)]
pub struct Pages<'p> {
    client: &'p Client,
    path: &'p [&'p str],
    query: Vec<(&'p str, String)>,
    /// Items that are still wanted; `None`: all.
    left: Option<u32>,
    is_over: bool,
}

impl<'p> Pages<'p> {
    pub(super) fn new(
        client: &'p Client,
        path: &'p [&'p str],
        query: Query<'p>,
        limit: Option<u32>,
    ) -> Self {
        let query = query.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Self { client, path, query, left: limit, is_over: limit == Some(0) }
    }

    /// The next items, or `None` when that were all.
    pub async fn next(&mut self) -> Result<Option<Vec<Value>>, Failure> {
        if self.is_over {
            return Ok(None);
        }
        let size = self.left.map_or(PAGE, |left| left.min(PAGE));
        self.set("limit", size.to_string());
        let page = self.client.page(self.path, &self.query).await?;
        let read = u32::try_from(page.items.len()).unwrap_or(u32::MAX);
        self.left = self.left.map(|left| left.saturating_sub(read));
        match page.next {
            Some(next) if self.left != Some(0) => self.set(cursor_of(self.path), next),
            _ => self.is_over = true,
        }
        Ok(Some(page.items))
    }

    fn set(&mut self, key: &'static str, value: String) {
        self.query.retain(|(known, _)| *known != key);
        self.query.push((key, value));
    }
}

/// The parameter that says where a page begins: events go by their numbers.
fn cursor_of(path: &[&str]) -> &'static str {
    if path.last() == Some(&"events") { "after" } else { "cursor" }
}
