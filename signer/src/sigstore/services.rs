//! Which services sign: from a signing config (`SigningConfig` of protobuf-specs, version 0.2), or from flags.

use hallmark_policy::Timestamp;
use reqwest::Url;
use serde::Deserialize;

use super::http::address;
use super::rekor::Log;
use crate::error::{Exit, Failure};

/// Most bytes of a signing config. The public-good one has 1 KiB.
pub(crate) const MAX_CONFIG_BYTES: u64 = 1024 * 1024;
/// Most services of one kind: as many as a trusted root may have.
const MAX_SERVICES: usize = 64;
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";
const HINT: &str = "give the `signing_config.json` (version 0.2) of the instance that is to sign";

/// An instance whose config and root this program was built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instance {
    /// The public-good instance.
    PublicGood,
    /// Its staging instance.
    Staging,
}

/// The version of a log's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LogVersion {
    /// Rekor.
    One,
    /// Rekor on tiles.
    Two,
}

/// The services of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Services {
    /// Who gives out certificates.
    pub(crate) authority: Option<Url>,
    /// Where people log in, as it is written: that is its name.
    pub(crate) issuer: Option<String>,
    /// The logs.
    pub(crate) logs: Choice<Log>,
    /// The addresses of timestamp authorities.
    pub(crate) timestamps: Choice<String>,
}

/// Services of which some are needed; the others are asked when one is down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice<T> {
    /// How many must answer.
    pub(crate) needed: usize,
    /// In the order in which they are asked.
    pub(crate) candidates: Vec<T>,
}

impl<T> Choice<T> {
    /// All of these.
    pub(crate) fn all(candidates: Vec<T>) -> Self {
        Self { needed: candidates.len(), candidates }
    }
}

impl Services {
    /// The services of an instance, as they were when this program was built.
    pub(crate) fn of_instance(instance: Instance, now: Timestamp) -> Result<Self, Failure> {
        let config: &[u8] = match instance {
            Instance::PublicGood => include_bytes!("../../data/signing_config.production.json"),
            Instance::Staging => include_bytes!("../../data/signing_config.staging.json"),
        };
        Self::of_config(config, now)
    }

    /// The services that a signing config names for now.
    pub(crate) fn of_config(bytes: &[u8], now: Timestamp) -> Result<Self, Failure> {
        Self::read(bytes, now).map_err(|problem| {
            Failure::new(Exit::Invalid, format!("the signing config cannot be used: {problem}"), HINT)
        })
    }

    fn read(bytes: &[u8], now: Timestamp) -> Result<Self, String> {
        let config: Config = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if config.media_type != MEDIA_TYPE {
            return Err(format!("its media type is not `{MEDIA_TYPE}`"));
        }
        let lists = [&config.ca_urls, &config.oidc_urls, &config.rekor_tlog_urls, &config.tsa_urls];
        if lists.into_iter().any(|list| list.len() > MAX_SERVICES) {
            return Err(format!("a list in it has more than {MAX_SERVICES} services"));
        }
        let first = |services: &[Service], name: &str| -> Result<Option<(Url, String)>, String> {
            let usable = usable(services, &[1], now).map_err(|problem| format!("{name}: {problem}"))?;
            usable.first().map(|service| Ok((service.address(name)?, service.url.clone()))).transpose()
        };
        let logs =
            usable(&config.rekor_tlog_urls, &[1, 2], now).map_err(|problem| format!("rekorTlogUrls: {problem}"))?;
        let logs = config.rekor_tlog_config.choose("rekorTlogConfig", &logs, config.rekor_tlog_urls.len())?;
        let log = |service: &&Service| {
            let version = if service.major_api_version == 2 { LogVersion::Two } else { LogVersion::One };
            Ok::<_, String>(Log { url: service.address("rekorTlogUrls")?, version })
        };
        let stamps = usable(&config.tsa_urls, &[1], now).map_err(|problem| format!("tsaUrls: {problem}"))?;
        let stamps = config.tsa_config.choose("tsaConfig", &stamps, config.tsa_urls.len())?;
        Ok(Self {
            authority: first(&config.ca_urls, "caUrls")?.map(|(url, _)| url),
            issuer: first(&config.oidc_urls, "oidcUrls")?.map(|(_, name)| name),
            logs: Choice {
                needed: logs.needed,
                candidates: logs.candidates.iter().map(log).collect::<Result<_, _>>()?,
            },
            timestamps: Choice {
                needed: stamps.needed,
                candidates: stamps.candidates.iter().map(|service| service.url.clone()).collect(),
            },
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: String,
    #[serde(default)]
    ca_urls: Vec<Service>,
    #[serde(default)]
    oidc_urls: Vec<Service>,
    #[serde(default)]
    rekor_tlog_urls: Vec<Service>,
    #[serde(default)]
    tsa_urls: Vec<Service>,
    #[serde(default)]
    rekor_tlog_config: Selection,
    #[serde(default)]
    tsa_config: Selection,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    url: String,
    #[serde(default)]
    major_api_version: u32,
    #[serde(default)]
    valid_for: Window,
    #[serde(default)]
    operator: String,
}

#[derive(Deserialize, Default)]
struct Window {
    start: Option<String>,
    end: Option<String>,
}

/// `ServiceConfiguration`: how many of the services are used.
#[derive(Deserialize, Default)]
struct Selection {
    #[serde(default)]
    selector: Selector,
    #[serde(default)]
    count: usize,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum Selector {
    All,
    Any,
    Exact,
    #[default]
    #[serde(rename = "SERVICE_SELECTOR_UNDEFINED")]
    Undefined,
}

impl Service {
    fn address(&self, name: &str) -> Result<Url, String> {
        address(&self.url, "a service").map_err(|failure| format!("{name}: {}", failure.message))
    }

    /// When it began, when it covers `now` (both ends included: `TimeRange` of protobuf-specs).
    fn began(&self, now: Timestamp) -> Result<Option<Timestamp>, String> {
        let time = |text: &String| text.parse::<Timestamp>().map_err(|error| format!("validFor: {error}"));
        let start = self.valid_for.start.as_ref().map(time).transpose()?.ok_or("a service has no start")?;
        let end = self.valid_for.end.as_ref().map(time).transpose()?;
        Ok((start <= now && end.is_none_or(|end| now <= end)).then_some(start))
    }
}

/// The services that can be used now, one an operator: of several, the highest version, then the newest. The highest
/// version comes first.
fn usable<'a>(services: &'a [Service], versions: &[u32], now: Timestamp) -> Result<Vec<&'a Service>, String> {
    let mut found: Vec<(u32, Timestamp, &Service)> = Vec::new();
    for service in services {
        if let Some(start) = service.began(now)?
            && versions.contains(&service.major_api_version)
        {
            found.push((service.major_api_version, start, service));
        }
    }
    found.sort_by_key(|(version, start, _)| std::cmp::Reverse((*version, *start)));
    let mut chosen: Vec<&Service> = Vec::new();
    for (_, _, service) in found {
        if chosen.iter().all(|other| other.operator != service.operator) {
            chosen.push(service);
        }
    }
    Ok(chosen)
}

impl Selection {
    fn choose<'a>(&self, name: &str, usable: &[&'a Service], listed: usize) -> Result<Choice<&'a Service>, String> {
        let needed = match self.selector {
            Selector::Undefined if listed == 0 => 0,
            Selector::Undefined => return Err(format!("{name}: its selector is not ALL, ANY or EXACT")),
            Selector::All => usable.len(),
            Selector::Any => 1,
            Selector::Exact if self.count == 0 => return Err(format!("{name}: EXACT has no count")),
            Selector::Exact => self.count,
        };
        if usable.len() < needed || (listed > 0 && usable.is_empty()) {
            return Err(format!(
                "{name}: {needed} services of distinct operators are needed, and {} can be used now",
                usable.len()
            ));
        }
        Ok(Choice { needed, candidates: usable.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-11-25T00:00:00Z".parse().unwrap()
    }

    fn service(url: &str, version: u32, start: &str, operator: &str) -> Value {
        json!({"url": url, "majorApiVersion": version, "validFor": {"start": start}, "operator": operator})
    }

    fn logs(services: &Value, selection: &Value) -> Result<(usize, Vec<String>), String> {
        let config = json!({"mediaType": MEDIA_TYPE, "rekorTlogUrls": services, "rekorTlogConfig": selection});
        let read = Services::read(config.to_string().as_bytes(), now())?;
        let urls = read.logs.candidates.iter().map(|log| log.url.host_str().unwrap().to_owned()).collect();
        Ok((read.logs.needed, urls))
    }

    #[test]
    fn the_instances_that_are_built_in_can_be_used() {
        for (instance, authority, issuer) in [
            (Instance::PublicGood, "https://fulcio.sigstore.dev/", "https://oauth2.sigstore.dev/auth"),
            (Instance::Staging, "https://fulcio.sigstage.dev/", "https://oauth2.sigstage.dev/auth"),
        ] {
            let services = Services::of_instance(instance, now()).unwrap();
            assert_eq!(services.authority.unwrap().as_str(), authority);
            assert_eq!(services.issuer.as_deref(), Some(issuer));
            assert_eq!((services.logs.needed, services.timestamps.needed), (1, 1));
        }
    }

    #[test]
    fn of_each_operator_the_highest_version_then_the_newest_is_used_within_its_window() {
        let old = "2025-01-01T00:00:00Z";
        let services = json!([
            service("https://one.a", 1, "2026-01-01T00:00:00Z", "a"),
            service("https://two.a", 2, old, "a"),
            service("https://three.a", 3, "2026-01-01T00:00:00Z", "a"),
            service("https://old.b", 1, old, "b"),
            service("https://new.b", 1, "2026-01-01T00:00:00Z", "b"),
            service("https://not-yet.c", 1, "2027-01-01T00:00:00Z", "c"),
            {"url": "https://over.d", "majorApiVersion": 1, "operator": "d",
             "validFor": {"start": old, "end": "2026-11-24T23:59:59Z"}},
        ]);
        let both = vec!["two.a".to_owned(), "new.b".to_owned()];
        assert_eq!(logs(&services, &json!({"selector": "ALL"})), Ok((2, both.clone())));
        assert_eq!(logs(&services, &json!({"selector": "ANY"})), Ok((1, both.clone())));
        assert_eq!(logs(&services, &json!({"selector": "EXACT", "count": 2})), Ok((2, both)));
        assert_eq!(logs(&json!([]), &json!({})), Ok((0, vec![])));
    }

    #[test]
    fn must_not_sign_with_fewer_services_than_the_config_demands_nor_with_others() {
        let start = "2025-01-01T00:00:00Z";
        let one = json!([service("https://a.example", 1, start, "a"), service("https://b.example", 1, start, "a")]);
        for (services, selection) in [
            (one.clone(), json!({"selector": "EXACT", "count": 2})),
            (one.clone(), json!({"selector": "EXACT"})),
            (json!([]), json!({"selector": "EXACT", "count": 2})),
            (json!([]), json!({"selector": "ANY"})),
            (one.clone(), json!({"selector": "SOME"})),
            (one, json!({})),
            (json!([service("https://a.example", 3, start, "a")]), json!({"selector": "ALL"})),
            (json!([service("https://a.example", 1, "2027-01-01T00:00:00Z", "a")]), json!({"selector": "ANY"})),
            (json!([service("http://a.example", 1, start, "a")]), json!({"selector": "ANY"})),
            (json!([service("https://a.example", 1, "soon", "a")]), json!({"selector": "ANY"})),
            (json!([{"url": "https://a.example", "majorApiVersion": 1}]), json!({"selector": "ANY"})),
        ] {
            assert!(logs(&services, &selection).is_err(), "{services} {selection}");
        }
        for bad in [json!({"mediaType": MEDIA_TYPE.replace("0.2", "0.1")}), json!({}), json!([])] {
            assert!(Services::read(bad.to_string().as_bytes(), now()).is_err(), "{bad}");
        }
    }
}
