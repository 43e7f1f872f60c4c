//! Content discovery: tags and referrers (end-8, end-12).

use axum::body::Body;
use axum::response::Response;
use hallmark_policy::image::{Digest, Index, media_type};
use http::{HeaderName, StatusCode, header};
use url::form_urlencoded::Serializer;

use super::{Call, OCI_FILTERS_APPLIED, content};
use crate::endpoint::Name;
use crate::refusal::Refusal;

pub(super) async fn tags(call: Call, name: Name) -> Result<Response, Refusal> {
    let most = call.store.limits.tags_per_page;
    let asked = call.parameters.n.as_deref().map(|text| number("n", text)).transpose()?;
    let count = asked.map_or(most, |asked| usize::try_from(asked).unwrap_or(usize::MAX).min(most));
    let last = call.parameters.last;
    let repository = name.clone();
    let page = call.store.run(move |store| store.tags(&repository, last.as_deref(), count)).await?;
    let tags: Vec<&str> = page.items.iter().map(|tag| tag.as_str()).collect();
    let mut headers = vec![(header::CONTENT_TYPE, "application/json".to_owned())];
    // "When n is zero, this endpoint MUST return an empty list, and MUST NOT include a Link header."
    if let (true, Some(last)) = (page.has_more, tags.last()) {
        let query =
            Serializer::new(String::new()).append_pair("n", &count.to_string()).append_pair("last", last).finish();
        headers.push(next(&format!("/v2/{name}/tags/list?{query}")));
    }
    let body = serde_json::json!({"name": name.as_str(), "tags": tags});
    Ok(content(StatusCode::OK, headers, Body::from(body.to_string())))
}

/// "A registry that supports the referrers API MUST NOT return a 404": what nobody refers to has an empty listing.
pub(super) async fn referrers(call: Call, name: Name, subject: Digest) -> Result<Response, Refusal> {
    let after = call.parameters.last.as_deref().map(|text| number("last", text)).transpose()?.unwrap_or(0);
    let artifact_type = call.parameters.artifact_type.filter(|text| !text.is_empty());
    let mut headers = vec![(header::CONTENT_TYPE, media_type::OCI_INDEX.to_owned())];
    if artifact_type.is_some() {
        headers.push((OCI_FILTERS_APPLIED, "artifactType".to_owned()));
    }
    let (repository, wanted) = (name.clone(), artifact_type.clone());
    let listing = move |store: &crate::store::Store| store.referrers(&repository, &subject, after, wanted.as_deref());
    let page = call.store.run(listing).await?;
    if let Some(last) = page.next {
        let mut query = Serializer::new(String::new());
        if let Some(artifact_type) = artifact_type {
            query.append_pair("artifactType", &artifact_type);
        }
        let query = query.append_pair("last", &last.to_string()).finish();
        headers.push(next(&format!("/v2/{name}/referrers/{subject}?{query}")));
    }
    Ok(content(StatusCode::OK, headers, Body::from(Index::new(page.descriptors).encode())))
}

/// The link to the next page (RFC 8288).
fn next(target: &str) -> (HeaderName, String) {
    (header::LINK, format!("<{target}>; rel=\"next\""))
}

fn number(name: &str, text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| Refusal::ParameterInvalid(format!("query parameter `{name}` is not a number")))
}
