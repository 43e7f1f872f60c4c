//! The tags of a repository (distribution-spec, "Listing Tags").

use std::collections::BTreeSet;
use std::time::Instant;

use hallmark_policy::Code;
use hallmark_policy::evidence::{Cause, Observation};
use hallmark_policy::image::{Repository, Tag};
use http::header::{ACCEPT, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::endpoint::same_origin;
use crate::link::next_page;
use crate::read::{contradiction, status_cause};
use crate::registry::Shared;
use crate::transport::Response;

/// Most tags of one repository; a hundred builds a day for three years.
const MAX_TAGS: usize = 100_000;
/// How many tags a page is asked to have. Registries give fewer where they like to.
const PAGE: usize = 1000;
/// Most pages, for registries that give few tags in each.
const MAX_PAGES: usize = 2000;

#[derive(Deserialize)]
struct Page {
    /// Some registries write `null` where there are none.
    tags: Option<Vec<String>>,
}

impl Shared {
    /// All tags, or nothing: a list that may be cut off is not given out as a whole one.
    pub(crate) async fn list_tags(&self, repository: &Repository, deadline: Instant) -> Observation<Vec<Tag>> {
        match self.read_tags(repository, deadline).await {
            Ok(Some(tags)) => Observation::Found(tags),
            Ok(None) => Observation::Absent,
            Err(cause) => Observation::Unknown(cause),
        }
    }

    async fn read_tags(&self, repository: &Repository, deadline: Instant) -> Result<Option<Vec<Tag>>, Cause> {
        let host = repository.host();
        let mut request = self.request(repository, Method::GET, "tags/list", deadline)?;
        request.url.query_pairs_mut().append_pair("n", &PAGE.to_string());
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut tags: BTreeSet<String> = BTreeSet::new();
        let mut visited: BTreeSet<Url> = BTreeSet::new();
        loop {
            if !visited.insert(request.url.clone()) {
                return Err(contradiction(host, "its list of tags goes round in a circle"));
            }
            if visited.len() > MAX_PAGES {
                return Err(contradiction(host, &format!("its list of tags has more than {MAX_PAGES} pages")));
            }
            let response = self.transport.send(&request).await.map_err(|failure| failure.cause(&request))?;
            match response.status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND if visited.len() == 1 => return Ok(None),
                _ => return Err(status_cause(&request, &response)),
            }
            let next = next_page(&request.url, &response.headers)
                .map_err(|problem| contradiction(host, &format!("its list of tags: {problem}")))?;
            tags.extend(read_page(&response).map_err(|problem| contradiction(host, &problem))?);
            if tags.len() > MAX_TAGS {
                let problem = format!("`{repository}` has more than {MAX_TAGS} tags");
                return Err(Cause::new(Code::RegistryUnavailable, problem));
            }
            match next {
                None => break,
                Some(url) if same_origin(&request.url, &url) => request.url = url,
                Some(_) => return Err(contradiction(host, "its list of tags goes on at another host")),
            }
        }
        // What is no tag names nothing that could be asked for.
        Ok(Some(tags.iter().filter_map(|tag| tag.parse().ok()).collect()))
    }
}

fn read_page(response: &Response) -> Result<Vec<String>, String> {
    let page: Page = serde_json::from_slice(&response.body).map_err(|error| format!("its list of tags: {error}"))?;
    Ok(page.tags.unwrap_or_default())
}
