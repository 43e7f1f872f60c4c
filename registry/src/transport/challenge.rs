//! The challenge of a 401 (`WWW-Authenticate`, RFC 9110 section 11.6.1; RFC 6750; distribution's token specification).

use ::http::HeaderMap;
use ::http::header::WWW_AUTHENTICATE;
use url::Url;

/// Most bytes of one header value that is looked at.
const MAX_BYTES: usize = 8 * 1024;
/// Most challenges that are looked at: registries send one, or one for each of two schemes.
const MAX_CHALLENGES: usize = 8;

/// How a registry wants to be shown who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

/// The challenges that we know how to answer, those that are preferred first: a bearer token is for one repository and a
/// short time, a password (Basic) is for everything and would be sent with every request.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut found: Vec<Challenge> = values.flat_map(schemes).filter_map(known).take(MAX_CHALLENGES).collect();
    found.sort_by_key(|challenge| matches!(challenge, Challenge::Basic));
    found
}

fn known((scheme, parameters): (String, Parameters)) -> Option<Challenge> {
    let parameter = |name: &str| {
        let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    };
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    let realm = parameter("realm").filter(|_| scheme.eq_ignore_ascii_case("bearer"))?;
    Some(Challenge::Bearer { realm: Url::parse(&realm).ok()?, service: parameter("service") })
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

    fn parse_all(values: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        challenges(&headers)
    }

    fn parse(values: &[&str]) -> Option<Challenge> {
        parse_all(values).into_iter().next()
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

    #[test]
    fn several_challenges_are_kept_in_the_order_of_preference() {
        let token = |host: &str| bearer(&format!("https://{host}/t"), None).unwrap();
        let all = parse_all(&[r#"Basic realm="r", Bearer realm="https://a/t""#, r#"Bearer realm="https://b/t""#]);
        assert_eq!(all, [token("a"), token("b"), Challenge::Basic]);
        let many: Vec<String> = (0..MAX_CHALLENGES + 5).map(|n| format!(r#"Bearer realm="https://h{n}/t""#)).collect();
        assert_eq!(parse_all(&many.iter().map(String::as_str).collect::<Vec<_>>()).len(), MAX_CHALLENGES);
    }

    #[test]
    fn fuzz_challenges() {
        let seeds = [
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull""#,
            r#"Basic realm="r", Bearer realm="https://a.example/t",service="s""#,
            r#"BEARER Realm = "https://a.example/t" , error="x, \"y\"""#,
            "Negotiate",
        ];
        let words =
            ["Bearer ", "Basic", "realm=", "service=", "\"", "\\\"", ",", "=", "https://", "https://b.example/"];
        hallmark_fuzz_driver::Fuzz::new("challenges").seeds(seeds).words(&words).run(|bytes| {
            let Ok(value) = ::http::HeaderValue::from_bytes(bytes) else { return "not a header".to_owned() };
            let mut headers = HeaderMap::new();
            headers.insert(WWW_AUTHENTICATE, value);
            let found = challenges(&headers);
            assert!(found.len() <= MAX_CHALLENGES);
            let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
            for challenge in &found {
                match challenge {
                    Challenge::Basic => assert!(text.contains("basic"), "nobody asked for a password"),
                    Challenge::Bearer { .. } => assert!(text.contains("bearer") && text.contains("realm")),
                }
            }
            format!("{:.60}", format!("{found:?}"))
        });
    }
}
