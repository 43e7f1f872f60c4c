//! The list of a repository's tags: whole, or unknown.

use axum::http::HeaderValue;
use hallmark_policy::Code;
use hallmark_policy::evidence::Observation;
use hallmark_policy::image::{Repository, Tag};

use crate::scripted::{Scripted, client, text};

/// Answers by the `last` of the query: pages of one tag each, and what the third page is.
async fn paged(third: fn() -> axum::response::Response) -> Observation<Vec<Tag>> {
    let registry = Scripted::with(
        move |request| {
            let path = request.uri().path();
            if !path.ends_with("/tags/list") {
                return None;
            }
            let page = |tag: &str, next: &str| {
                let mut response = text(200, &format!(r#"{{"name":"team/app","tags":["{tag}","not a tag"]}}"#));
                let link = HeaderValue::from_str(&format!("<{path}?last={next}>; rel=\"next\"")).unwrap();
                response.headers_mut().insert("link", link);
                response
            };
            Some(match request.uri().query().unwrap_or_default() {
                "n=1000" => page("1", "a"),
                "last=a" => page("2", "b"),
                _ => third(),
            })
        },
        |_, response| response,
    )
    .await;
    let repository: Repository = format!("{}/team/app", registry.host).parse().unwrap();
    client().list_tags(&repository).await
}

fn codes(observed: &Observation<Vec<Tag>>) -> Option<Code> {
    match observed {
        Observation::Unknown(cause) => Some(cause.code()),
        Observation::Found(_) | Observation::Absent => None,
    }
}

#[tokio::test]
async fn the_pages_of_a_list_of_tags_are_one_list() {
    let observed = paged(|| text(200, r#"{"name":"team/app","tags":["3"]}"#)).await;
    let Observation::Found(tags) = observed else { panic!("{observed:?}") };
    assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["1", "2", "3"]);
    let empty = paged(|| text(200, r#"{"name":"team/app","tags":null}"#)).await;
    assert!(matches!(empty, Observation::Found(tags) if tags.len() == 2));
}

#[tokio::test]
async fn must_not_take_a_part_of_the_tags_for_all_of_them() {
    assert_eq!(codes(&paged(|| text(404, "gone")).await), Some(Code::RegistryInconsistent));
    assert_eq!(codes(&paged(|| text(403, "no")).await), Some(Code::RegistryUnauthorized));
    assert_eq!(codes(&paged(|| text(200, "<html>")).await), Some(Code::RegistryInconsistent));
    let third: [fn() -> axum::response::Response; 3] = [
        || linked("</v2/team/app/tags/list?last=a>; rel=\"next\""),
        || linked("<https://elsewhere.example/v2/team/app/tags/list?last=c>; rel=\"next\""),
        || linked("<broken"),
    ];
    for third in third {
        assert_eq!(codes(&paged(third).await), Some(Code::RegistryInconsistent));
    }
}

#[tokio::test]
async fn a_repository_that_is_not_there_has_no_list() {
    let registry = Scripted::plain().await;
    let repository: Repository = format!("{}/team/none", registry.host).parse().unwrap();
    assert_eq!(client().list_tags(&repository).await, Observation::Absent);
}

fn linked(link: &'static str) -> axum::response::Response {
    let mut response = text(200, r#"{"name":"team/app","tags":["3"]}"#);
    response.headers_mut().insert("link", HeaderValue::from_static(link));
    response
}
