//! The challenge of a 401 (`WWW-Authenticate`, RFC 9110 section 11.6.1; RFC 6750; distribution's token specification).

use ::http::HeaderMap;
use ::http::header::WWW_AUTHENTICATE;
use url::Url;

/// Most bytes of one header value that is looked at.
const MAX_BYTES: usize = 8 * 1024;

/// How a registry wants to be shown who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

/// The challenge that will be answered: the first Bearer challenge, else a Basic one.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Ok(value) = value.to_str() else { continue };
        for (scheme, parameters) in schemes(value) {
            let parameter = |name: &str| {
                let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = parameter("realm").and_then(|realm| Url::parse(&realm).ok())
            {
                return Some(Challenge::Bearer { realm, service: parameter("service") });
            }
        }
    }
    basic
}

type Parameters = Vec<(String, String)>;

/// The challenges of one header value. A word that no `=` follows begins the next challenge.
fn schemes(value: &str) -> Vec<(String, Parameters)> {
    let mut challenges: Vec<(String, Parameters)> = Vec::new();
    if value.len() > MAX_BYTES {
        return challenges;
    }
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=', '"']).unwrap_or(rest.len());
        let Some((word, after)) = rest.split_at_checked(end) else { return challenges };
        if word.is_empty() {
            return challenges;
        }
        match after.trim_start().strip_prefix('=') {
            None => {
                challenges.push((word.to_owned(), Vec::new()));
                rest = after;
            }
            Some(after) => {
                let Some((parameter, after)) = parameter_value(after.trim_start()) else { return challenges };
                if let Some((_, parameters)) = challenges.last_mut() {
                    parameters.push((word.to_owned(), parameter));
                }
                rest = after;
            }
        }
    }
}

/// A token or a quoted string, and what follows it.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return text.split_at_checked(end).map(|(value, rest)| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut escaped = false;
    for (index, character) in quoted.char_indices() {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((value, quoted.get(index + 1..)?)),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        challenge(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.parse().unwrap(), service: service.map(str::to_owned) })
    }

    #[test]
    fn challenges_of_real_registries_are_understood() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull""#;
        assert_eq!(parse(&[hub]), bearer("https://auth.docker.io/token", Some("registry.docker.io")));
        assert_eq!(parse(&[r#"Basic realm="Registry Realm""#]), Some(Challenge::Basic));
        assert_eq!(parse(&["basic"]), Some(Challenge::Basic));
        assert_eq!(
            parse(&[r#"BEARER Realm = "https://a.example/t" , error="x, \"y\"""#]),
            bearer("https://a.example/t", None)
        );
        assert_eq!(parse(&[r#"Bearer realm=https://a.example/t,service=s"#]), bearer("https://a.example/t", Some("s")));
        let both = r#"Basic realm="r", Bearer realm="https://a.example/t",service="s""#;
        assert_eq!(parse(&[both]), bearer("https://a.example/t", Some("s")));
        assert_eq!(parse(&["Negotiate", r#"Basic realm="r""#]), Some(Challenge::Basic));
    }

    #[test]
    fn must_not_invent_a_challenge() {
        let long = format!(r#"Bearer realm="https://a.example/{}""#, "x".repeat(MAX_BYTES));
        for value in [
            "",
            ",,,",
            "=",
            "Digest realm=\"r\"",
            "Bearer",
            "Bearer realm=\"not a url\"",
            "Bearer realm=\"https://a.example",
            &long,
        ] {
            assert_eq!(parse(&[value]), None, "{value}");
        }
        assert_eq!(parse(&[]), None);
    }
}
