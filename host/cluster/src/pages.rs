//! Lists of objects, which the API server sends in pages.

use kube::api::ListParams;
use serde::{Deserialize, Deserializer};

/// The number of objects of a page. It limits what the API server reads from its store for one request, and the text that this
/// program keeps in memory.
pub const PAGE: u32 = 500;
/// The most times that a list is started again because the API server does not have its snapshot any more.
const MAX_RESTARTS: usize = 3;

/// One page of a list.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(deserialize_with = "items")]
    items: Vec<T>,
}

/// Reads the items of a page. API servers write an empty list of metadata as null.
fn items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMetadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

/// Whether an error says that the API server does not have the snapshot of a list any more.
pub fn is_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

/// Returns the objects of all pages, and calls `seen` with the number of objects so far. `request` requests a page.
///
/// # Errors
///
/// The error of a request. If it is `is_expired`, the list is started again a few times.
pub async fn list<T, E, F: Future<Output = Result<Page<T>, E>>>(
    selected: &ListParams,
    mut request: impl FnMut(ListParams) -> F,
    is_expired: impl Fn(&E) -> bool,
    mut seen: impl FnMut(usize),
) -> Result<Vec<T>, E> {
    let first = ListParams { limit: Some(PAGE), ..selected.clone() };
    let (mut objects, mut parameters, mut restarts) = (Vec::new(), first.clone(), 0);
    loop {
        let page = match request(parameters).await {
            Err(error) if is_expired(&error) && restarts < MAX_RESTARTS => {
                restarts += 1;
                objects.clear();
                parameters = first.clone();
                continue;
            }
            page => page?,
        };
        objects.extend(page.items);
        seen(objects.len());
        match page.metadata.next.filter(|next| !next.is_empty()) {
            Some(next) => parameters = ListParams { continue_token: Some(next), ..first.clone() },
            None => return Ok(objects),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::ready;

    use serde_json::{Value, json};

    use super::*;

    /// Lists the pages, of which some are errors. Returns the result, and the tokens and the numbers of objects seen.
    async fn listed(pages: Vec<Result<Value, &'static str>>) -> (Result<Vec<u32>, &'static str>, Vec<String>) {
        let mut pages: VecDeque<_> = pages.into();
        let log = std::cell::RefCell::new(Vec::new());
        let request = |parameters: ListParams| {
            assert_eq!((parameters.limit, parameters.label_selector.as_deref()), (Some(PAGE), Some("a")));
            log.borrow_mut().push(parameters.continue_token.unwrap_or_default());
            let page = pages.pop_front().unwrap_or(Err("no more pages"));
            ready(page.map(|page| serde_json::from_value(page).unwrap_or_else(|error| panic!("{error}"))))
        };
        let seen = |count| log.borrow_mut().push(format!("{count} seen"));
        let found = list(&ListParams::default().labels("a"), request, |error| *error == "expired", seen).await;
        (found, log.into_inner())
    }

    fn page(items: &[u32], next: &str) -> Result<Value, &'static str> {
        Ok(json!({ "metadata": { "continue": next, "resourceVersion": "7" }, "items": items }))
    }

    #[tokio::test]
    async fn the_objects_of_all_pages_are_returned() {
        let (found, log) = listed(vec![page(&[1, 2], "b"), page(&[3], "")]).await;
        assert_eq!(found, Ok(vec![1, 2, 3]));
        assert_eq!(log, ["", "2 seen", "b", "3 seen"]);
        for empty in [json!([]), json!(null)] {
            assert_eq!(listed(vec![Ok(json!({ "items": empty }))]).await.0, Ok(vec![]), "{empty}");
        }
    }

    #[test]
    fn an_answer_without_items_is_no_list() {
        assert!(serde_json::from_value::<Page<u32>>(json!({ "metadata": {} })).is_err());
    }

    #[tokio::test]
    async fn a_list_without_a_snapshot_is_started_again_a_few_times() {
        let (found, log) = listed(vec![page(&[1], "b"), Err("expired"), page(&[1, 2], "")]).await;
        assert_eq!(found, Ok(vec![1, 2]));
        assert_eq!(log, ["", "1 seen", "b", "", "2 seen"]);
        assert_eq!(listed(vec![Err("expired"); 9]).await.0, Err("expired"));
        assert_eq!(listed(vec![page(&[1], "b"), Err("denied")]).await.0, Err("denied"));
    }
}
