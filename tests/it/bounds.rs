//! No answer is larger than 3 MiB, and no group can use the whole server. An item that does not fit on a page
//! is on the next one, complete, and no item occurs twice.

mod descriptions;
mod groups;
mod texts;

use std::future::Future;

use prost::Message;
use tether::proto::v1;

use crate::support::server::{Person, Refused, World};

/// The maximum size of an answer, in bytes.
const MOST: usize = 3 << 20;

/// Checks the size of an answer.
fn bounded<M: Message>(answer: M) -> M {
    assert!(answer.encoded_len() <= MOST, "{} bytes", answer.encoded_len());
    answer
}

/// A synced integration of the dummy with these fields, and the position that its data is searchable at.
async fn dummy(ann: &mut Person, name: &str, fields: &[&str]) -> (String, v1::SourcePosition) {
    ann.enable("dummy").await;
    let name = ann.create("dummy", name).await;
    ann.log_in_with_key(&name, "ann").await;
    ann.select(&name, fields).await;
    let sync = ann.activate(&name).await;
    let position = v1::SourcePosition {
        integration: name.clone(),
        change_number: ann.succeeds(&sync).await.change_number,
        time: None,
    };
    (name, position)
}

/// All pages of a list: their number, and their items.
async fn walk<T, F>(mut page: impl FnMut(String) -> F) -> (usize, Vec<T>)
where
    F: Future<Output = (Vec<T>, String)>,
{
    let (mut pages, mut all, mut token) = (0, Vec::new(), String::new());
    loop {
        let (some, next) = page(token).await;
        pages += 1;
        all.extend(some);
        if next.is_empty() {
            return (pages, all);
        }
        token = next;
    }
}

/// All pages of a list of companies.
async fn companies(of: &Person, list: v1::ListCompaniesRequest, total: usize) -> (usize, Vec<v1::Company>) {
    walk(async |page_token| {
        let request = v1::ListCompaniesRequest {
            page_token,
            ..list.clone()
        };
        // Indexing so much text may take longer than a call waits for it.
        let page = loop {
            match of.clone().companies.list_companies(request.clone()).await {
                Err(status) if status.code() == tonic::Code::Unavailable => {
                    let refused = Refused::from(status);
                    assert_eq!(refused.reason, "INDEX_NOT_READY");
                }
                other => break bounded(other.unwrap().into_inner()),
            }
        };
        assert_eq!(page.total_size, Some(total as i64));
        (page.companies, page.next_page_token)
    })
    .await
}

async fn metrics(world: &World) -> String {
    let answer = crate::support::server::http(&world.admin, "GET", "/metrics", "text/plain", "").await;
    answer.body
}
