//! The `Link` header of paged listings (RFC 8288), as far as `rel="next"` needs it.

use url::Url;

/// The target of the link to the next page, resolved against the page's own address.
///
/// `None` when there is no such link; `Err` with the reason when there is one that cannot be followed.
pub(crate) fn next_page(page: &Url, headers: &http::HeaderMap) -> Result<Option<Url>, String> {
    for value in headers.get_all(http::header::LINK) {
        let value = value.to_str().map_err(|_| "its Link header is not text".to_owned())?;
        if let Some(target) = next_target(value)? {
            let url = page.join(&target).map_err(|_| "its link to the next page is not an address".to_owned())?;
            return Ok(Some(url));
        }
    }
    Ok(None)
}

/// The target of `rel="next"` in one header value: `<target>; param=value; ..., <target>; ...`.
fn next_target(value: &str) -> Result<Option<String>, String> {
    let mut rest = value.trim();
    while !rest.is_empty() {
        let malformed = || "its Link header is malformed".to_owned();
        let (target, after) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or_else(malformed)?;
        let (parameters, following) = split_parameters(after).ok_or_else(malformed)?;
        if parameters.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("rel")
                && value.split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"))
        }) {
            return Ok(Some(target.to_owned()));
        }
        rest = following.trim_start();
    }
    Ok(None)
}

/// The parameters of one link, and what follows the comma after it. Quoted values may hold commas and semicolons; what
/// comes after one must be the end of the parameter, or `rel="next">` would pass for the last page. `None` then.
fn split_parameters(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut parameters = Vec::new();
    let mut current = String::new();
    let mut quoted = false;
    let mut escaped = false;
    let mut closed = false;
    let mut rest = "";
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => {
                current.push(character);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' if quoted => (quoted, closed) = (false, true),
            ';' if !quoted => {
                closed = false;
                parameters.push(std::mem::take(&mut current));
            }
            ',' if !quoted => {
                rest = text.get(index + 1..).unwrap_or_default();
                break;
            }
            _ if closed && !character.is_ascii_whitespace() => return None,
            '"' => quoted = true,
            '<' | '>' if !quoted => return None,
            _ => current.push(character),
        }
    }
    if quoted {
        return None;
    }
    parameters.push(current);
    let pairs = parameters.iter().filter_map(|parameter| parameter.split_once('='));
    Some((pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(value: &str) -> Result<Option<String>, String> {
        let page = Url::parse("https://r.example/v2/a/referrers/sha256:1").unwrap();
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::LINK, value.parse().unwrap());
        next_page(&page, &headers).map(|url| url.map(String::from))
    }

    #[test]
    fn the_next_page_is_found_in_every_form_of_the_header() {
        for value in [
            r#"</v2/a/referrers/sha256:1?last=b>; rel="next""#,
            r#"</v2/a/referrers/sha256:1?last=b>;rel=next"#,
            r#"</x>; rel="prev", </v2/a/referrers/sha256:1?last=b>; title="a, b; c"; rel="start NEXT""#,
            r#"<https://r.example/v2/a/referrers/sha256:1?last=b>; rel="next""#,
            r#"<?last=b>; rel="next""#,
        ] {
            let expected = "https://r.example/v2/a/referrers/sha256:1?last=b";
            assert_eq!(next(value).unwrap().as_deref(), Some(expected), "{value}");
        }
        assert_eq!(next(r#"</x>; rel="prev""#), Ok(None));
        assert_eq!(next(r#"</x>; title="rel=next""#), Ok(None));
        assert_eq!(next(r#"<https://evil.example/>; rel=next"#).unwrap().as_deref(), Some("https://evil.example/"));
    }

    #[test]
    fn must_not_take_a_malformed_link_for_the_last_page() {
        for value in [
            "/x; rel=next",
            "<x",
            "<https://:bad:>; rel=next",
            "</a>; rel=prev, garbage",
            r#"<</a>; rel="next">"#,
            r#"</a>; rel="next"x"#,
            r#"</a>; rel="next"#,
            "</a>; rel=next>",
        ] {
            assert!(next(value).is_err(), "{value}");
        }
    }

    #[test]
    fn fuzz_link() {
        let seeds = [
            r#"</v2/a/referrers/sha256:1?last=b>; rel="next""#,
            r#"</x>; rel="prev", </y>; title="a, b; c"; rel="start NEXT""#,
            r#"<https://r.example/?last=b>;rel=next"#,
        ];
        let words = ["rel=", "next", "\"", "<", ">", ",", ";", "\\\"", "https://", "//", "rel=\"next\""];
        let page = Url::parse("https://r.example/v2/a/referrers/sha256:1").unwrap();
        hallmark_fuzz_driver::Fuzz::new("link").seeds(seeds).words(&words).run(|bytes| {
            let mut headers = http::HeaderMap::new();
            let Ok(value) = http::HeaderValue::from_bytes(bytes) else { return "not a header".to_owned() };
            headers.insert(http::header::LINK, value);
            // Within quotes, a backslash before a character stands for nothing.
            let text = String::from_utf8_lossy(bytes).to_ascii_lowercase().replace('\\', "");
            match next_page(&page, &headers) {
                Ok(Some(_)) => {
                    assert!(text.contains("next") && text.contains("rel"), "a page that nobody named");
                    "next".to_owned()
                }
                // A link to a next page in its plainest form must not be taken for none.
                Ok(None) => {
                    assert!(!text.starts_with("</x>; rel=\"next\""), "a page was left out");
                    "none".to_owned()
                }
                Err(problem) => problem,
            }
        });
    }
}
