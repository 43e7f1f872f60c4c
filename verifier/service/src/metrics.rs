//! The metrics of the service. No label ever takes a value from a request: endpoints, outcomes and codes are enums,
//! and the names of policies come from the operator's own files.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use hallmark_policy::{Code, Outcome, Timestamp};
use hallmark_registry::HostTraffic;
use hallmark_verifier::ContentStore;
use hallmark_verifier::trust_root::RootReport;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::verdict::{ImageVerdict, PolicyInForce};

/// An endpoint that gives verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /v1/admission/validate`.
    Admission,
    /// `POST /v1/verdicts`.
    Verdicts,
}

impl Endpoint {
    /// The value of the label, and the word of the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Verdicts => "verdicts",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    endpoint: &'static str,
    outcome: &'static str,
    admitted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    endpoint: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    endpoint: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    endpoint: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabels {
    name: String,
    digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RegistryLabels {
    registry: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RootLabels {
    root: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefreshLabels {
    root: String,
    result: &'static str,
}

/// Where the trusted roots in use are seen.
type Roots = Box<dyn Fn() -> Vec<RootReport> + Send + Sync>;

/// Where the traffic with registries is seen.
type Traffic = Box<dyn Fn() -> Vec<HostTraffic> + Send + Sync>;

/// Everything that `/metrics` shows.
pub struct Metrics {
    registry: Registry,
    verdicts: Family<VerdictLabels, Counter>,
    reasons: Family<ReasonLabels, Counter>,
    verdict_seconds: Family<EndpointLabels, Histogram, fn() -> Histogram>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<EndpointLabels, Histogram, fn() -> Histogram>,
    shed: Family<EndpointLabels, Counter>,
    connections_refused: Counter,
    policy_loads: Family<ResultLabels, Counter>,
    policy_current: Gauge,
    policy_info: Family<PolicyLabels, Gauge>,
    certificate_loads: Family<ResultLabels, Counter>,
    registries_loads: Family<ResultLabels, Counter>,
    registries_current: Gauge,
    traffic: OnceLock<Traffic>,
    registry_refused: Family<RegistryLabels, Counter>,
    registry_pauses: Family<RegistryLabels, Counter>,
    registry_paused: Family<RegistryLabels, Gauge>,
    registry_rate_limit: Family<RegistryLabels, Gauge>,
    registry_rate_limit_remaining: Family<RegistryLabels, Gauge>,
    registry_rate_limit_window: Family<RegistryLabels, Gauge>,
    roots: OnceLock<Roots>,
    trust_root_age: Family<RootLabels, Gauge>,
    trust_root_fresh_for: Family<RootLabels, Gauge>,
    trust_root_refreshes: Family<RefreshLabels, Counter>,
    content: OnceLock<Arc<ContentStore>>,
    evidence_disk_in_use: Gauge,
    evidence_disk_bytes: Gauge,
    evidence_disk_files: Family<ResultLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("hallmark"),
            verdicts: Family::default(),
            reasons: Family::default(),
            verdict_seconds: Family::new_with_constructor(latencies),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(latencies),
            shed: Family::default(),
            connections_refused: Counter::default(),
            policy_loads: Family::default(),
            policy_current: Gauge::default(),
            policy_info: Family::default(),
            certificate_loads: Family::default(),
            registries_loads: Family::default(),
            registries_current: Gauge::default(),
            traffic: OnceLock::new(),
            registry_refused: Family::default(),
            registry_pauses: Family::default(),
            registry_paused: Family::default(),
            registry_rate_limit: Family::default(),
            registry_rate_limit_remaining: Family::default(),
            registry_rate_limit_window: Family::default(),
            roots: OnceLock::new(),
            trust_root_age: Family::default(),
            trust_root_fresh_for: Family::default(),
            trust_root_refreshes: Family::default(),
            content: OnceLock::new(),
            evidence_disk_in_use: Gauge::default(),
            evidence_disk_bytes: Gauge::default(),
            evidence_disk_files: Family::default(),
        };
        metrics.register();
        metrics.register_registries();
        metrics.register_roots();
        metrics
    }
}

/// From a warm verdict (under a millisecond) to the longest timeout of an API server (30 s).
fn latencies() -> Histogram {
    Histogram::new([0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("verdicts", "Verdicts about images", self.verdicts.clone());
        registry.register("verdict_reasons", "Reasons of verdicts that do not allow", self.reasons.clone());
        let help = "Time from the question about an image to its verdict";
        registry.register_with_unit("verdict_duration", help, Unit::Seconds, self.verdict_seconds.clone());
        registry.register("requests", "Requests by the status of their answer", self.requests.clone());
        let help = "Time from the head of a request to its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, self.request_seconds.clone());
        registry.register("requests_shed", "Requests turned away because of load", self.shed.clone());
        let help = "Connections turned away because there are too many";
        registry.register("connections_refused", help, self.connections_refused.clone());
        registry.register("policy_loads", "Attempts to load the trust policies", self.policy_loads.clone());
        let help = "1 when the trust policies in force are those in the files, 0 when the files do not load";
        registry.register("policy_current", help, self.policy_current.clone());
        registry.register("policy_info", "The trust policies in force", self.policy_info.clone());
        registry.register("certificate_loads", "Attempts to load the TLS files", self.certificate_loads.clone());
        let help = "1 when evidence is kept on disk, 0 when in memory only";
        registry.register("evidence_disk_in_use", help, self.evidence_disk_in_use.clone());
        registry.register_with_unit(
            "evidence_disk",
            "What kept evidence takes on disk",
            Unit::Bytes,
            self.evidence_disk_bytes.clone(),
        );
        let help = "Files of kept evidence, by what became of them";
        registry.register("evidence_disk_files", help, self.evidence_disk_files.clone());
    }

    fn register_registries(&mut self) {
        let registry = &mut self.registry;
        let help = "Attempts to load the files that say how registries are reached";
        registry.register("registry_settings_loads", help, self.registries_loads.clone());
        let help = "1 when registries are reached as the files say, 0 when these do not load";
        registry.register("registry_settings_current", help, self.registries_current.clone());
        let help = "Requests that a registry turned away because it asks for less traffic";
        registry.register("registry_requests_refused", help, self.registry_refused.clone());
        let help = "Times that a registry asked for less traffic and was left alone";
        registry.register("registry_pauses", help, self.registry_pauses.clone());
        let help = "1 while a registry is left alone by at least one account because it asked for that";
        registry.register("registry_paused", help, self.registry_paused.clone());
        let help = "Requests that a registry says it allows us in its window";
        registry.register("registry_rate_limit", help, self.registry_rate_limit.clone());
        let help = "Requests that a registry says are left of them";
        registry.register("registry_rate_limit_remaining", help, self.registry_rate_limit_remaining.clone());
        let help = "The window of a registry's limit";
        let window = self.registry_rate_limit_window.clone();
        registry.register_with_unit("registry_rate_limit_window", help, Unit::Seconds, window);
    }

    fn register_roots(&mut self) {
        let registry = &mut self.registry;
        let help =
            "Time since a TUF repository vouched for the trusted root in use; not there while it is the built-in one";
        registry.register_with_unit("trust_root_age", help, Unit::Seconds, self.trust_root_age.clone());
        let help = "Time until that word ends; negative after it, and the root stays in use";
        registry.register_with_unit("trust_root_fresh_for", help, Unit::Seconds, self.trust_root_fresh_for.clone());
        let help = "Attempts to refresh a trusted root";
        registry.register("trust_root_refreshes", help, self.trust_root_refreshes.clone());
    }

    /// Counts one verdict.
    pub fn count_verdict(&self, endpoint: Endpoint, verdict: &ImageVerdict, seconds: f64) {
        let endpoint = endpoint.as_str();
        let outcome: Outcome = verdict.verdict;
        let labels = VerdictLabels { endpoint, outcome: outcome.as_str(), admitted: verdict.admit };
        self.verdicts.get_or_create(&labels).inc();
        let mut codes: Vec<Code> = verdict.reasons.iter().map(|reason| reason.code).collect();
        codes.sort();
        codes.dedup();
        for code in codes {
            self.reasons.get_or_create(&ReasonLabels { endpoint, code: code.as_str() }).inc();
        }
        self.verdict_seconds.get_or_create(&EndpointLabels { endpoint }).observe(seconds);
    }

    /// Counts one answered request.
    pub fn count_request(&self, endpoint: Endpoint, status: u16, seconds: f64) {
        let endpoint = endpoint.as_str();
        self.requests.get_or_create(&RequestLabels { endpoint, status }).inc();
        self.request_seconds.get_or_create(&EndpointLabels { endpoint }).observe(seconds);
    }

    /// Counts a request that was turned away because of load.
    pub fn count_shed(&self, endpoint: Endpoint) {
        self.shed.get_or_create(&EndpointLabels { endpoint: endpoint.as_str() }).inc();
    }

    /// Counts a connection that was turned away.
    pub fn count_refused_connection(&self) {
        self.connections_refused.inc();
    }

    /// Counts a set of policies that came into force.
    pub fn policies_loaded(&self, policies: &[PolicyInForce]) {
        self.policy_loads.get_or_create(&ResultLabels { result: "success" }).inc();
        self.policy_current.set(1);
        self.policy_info.clear();
        for PolicyInForce { name, digest } in policies {
            self.policy_info.get_or_create(&PolicyLabels { name: name.clone(), digest: digest.clone() }).set(1);
        }
    }

    /// Counts a set of policies that did not load.
    pub fn policies_failed(&self) {
        self.policy_loads.get_or_create(&ResultLabels { result: "failure" }).inc();
        self.policy_current.set(0);
    }

    /// The files say again what is in force.
    pub fn policies_confirmed(&self) {
        self.policy_current.set(1);
    }

    /// Counts an attempt to load the files that say how registries are reached.
    pub fn count_registries_load(&self, success: bool) {
        let result = if success { "success" } else { "failure" };
        self.registries_loads.get_or_create(&ResultLabels { result }).inc();
        self.registries_current.set(i64::from(success));
    }

    /// The files say again how registries are reached.
    pub fn registries_confirmed(&self) {
        self.registries_current.set(1);
    }

    /// Counts an attempt to load the TLS files.
    pub fn count_certificate_load(&self, success: bool) {
        let result = if success { "success" } else { "failure" };
        self.certificate_loads.get_or_create(&ResultLabels { result }).inc();
    }

    /// Shows from now on what happens to evidence on disk.
    pub fn observe_content(&self, content: Arc<ContentStore>) {
        // The first stays: there is one store in a service.
        let _ = self.content.set(content);
    }

    /// Shows from now on what registries make of our requests.
    pub fn observe_traffic(&self, traffic: impl Fn() -> Vec<HostTraffic> + Send + Sync + 'static) {
        // The first stays: there is one client in a service.
        let _ = self.traffic.set(Box::new(traffic));
    }

    /// Shows from now on how fresh the trusted roots in use are.
    pub fn observe_roots(&self, roots: impl Fn() -> Vec<RootReport> + Send + Sync + 'static) {
        // The first stays: there is one set in a service.
        let _ = self.roots.set(Box::new(roots));
    }

    /// The names are two at most: those that trust policies know.
    fn look_at_roots(&self, now: Timestamp) {
        let Some(roots) = self.roots.get() else { return };
        for report in roots() {
            let RootReport { name: root, refreshed_at, fresh_until, refreshed, failed, .. } = report;
            for (result, count) in [("success", refreshed), ("failure", failed)] {
                let labels = RefreshLabels { root: root.clone(), result };
                self.trust_root_refreshes.get_or_create(&labels).inner().store(count, Ordering::Relaxed);
            }
            let labels = RootLabels { root };
            if let Some(at) = refreshed_at {
                self.trust_root_age.get_or_create(&labels).set(now.duration_since(at).as_secs());
            }
            if let Some(until) = fresh_until {
                self.trust_root_fresh_for.get_or_create(&labels).set(until.duration_since(now).as_secs());
            }
        }
    }

    /// Only registries that rules name are asked, so that there are as many labels as the operator has written down.
    fn look_at_registries(&self) {
        for host in self.traffic.get().map(|traffic| traffic()).unwrap_or_default() {
            let labels = RegistryLabels { registry: host.host };
            let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            self.registry_refused.get_or_create(&labels).inner().store(host.refused, Ordering::Relaxed);
            self.registry_pauses.get_or_create(&labels).inner().store(host.pauses, Ordering::Relaxed);
            self.registry_paused.get_or_create(&labels).set(i64::from(host.paused_for.is_some()));
            let Some(limit) = host.rate_limit else { continue };
            self.registry_rate_limit.get_or_create(&labels).set(gauge(limit.limit));
            self.registry_rate_limit_remaining.get_or_create(&labels).set(gauge(limit.remaining));
            if let Some(window) = limit.window {
                self.registry_rate_limit_window.get_or_create(&labels).set(gauge(window.as_secs()));
            }
        }
    }

    fn look_at_disk(&self) {
        let Some(counts) = self.content.get().and_then(|content| content.disk_counts()) else { return };
        self.evidence_disk_in_use.set(1);
        self.evidence_disk_bytes.set(i64::try_from(counts.bytes).unwrap_or(i64::MAX));
        let results = [
            ("read", counts.read),
            ("written", counts.written),
            ("damaged", counts.damaged),
            ("failed", counts.failed),
        ];
        for (result, count) in results {
            self.evidence_disk_files.get_or_create(&ResultLabels { result }).inner().store(count, Ordering::Relaxed);
        }
    }

    /// The text that a scraper reads (OpenMetrics 1.0).
    ///
    /// # Errors
    /// When a metric cannot be written, which would be a bug.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        self.look_at_disk();
        self.look_at_registries();
        self.look_at_roots(Timestamp::now());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Reason;

    #[test]
    fn no_request_makes_a_new_series() {
        let metrics = Metrics::default();
        for image in 0..1_000 {
            let reason = Reason { code: Code::Unsigned, message: format!("{image}"), hint: String::new() };
            let verdict = ImageVerdict::unanswered(format!("r.example/{image}"), Timestamp::UNIX_EPOCH, reason);
            metrics.count_verdict(Endpoint::Admission, &verdict, 0.01);
            metrics.count_request(Endpoint::Admission, 200, 0.01);
        }
        let text = metrics.encode().unwrap();
        assert!(
            text.contains(r#"hallmark_verdicts_total{endpoint="admission",outcome="deny",admitted="false"} 1000"#),
            "{text}"
        );
        assert!(text.contains(r#"hallmark_verdict_reasons_total{endpoint="admission",code="unsigned"} 1000"#));
        assert!(!text.contains("r.example"));
        assert!(text.lines().count() < 80, "{text}");
    }

    #[test]
    fn what_registries_make_of_our_requests_is_shown() {
        use hallmark_registry::RateLimit;
        use std::time::Duration;

        let metrics = Metrics::default();
        let limit = RateLimit { limit: 100, remaining: 7, window: Some(Duration::from_secs(21_600)) };
        let host = |name: &str, paused_for, rate_limit| HostTraffic {
            host: name.to_owned(),
            paused_for,
            pauses: 2,
            refused: 9,
            rate_limit,
        };
        metrics.observe_traffic(move || {
            vec![host("docker.io", Some(Duration::ZERO), Some(limit)), host("r.example:5000", None, None)]
        });
        let text = metrics.encode().unwrap();
        for line in [
            r#"hallmark_registry_requests_refused_total{registry="docker.io"} 9"#,
            r#"hallmark_registry_pauses_total{registry="docker.io"} 2"#,
            r#"hallmark_registry_paused{registry="docker.io"} 1"#,
            r#"hallmark_registry_paused{registry="r.example:5000"} 0"#,
            r#"hallmark_registry_rate_limit{registry="docker.io"} 100"#,
            r#"hallmark_registry_rate_limit_remaining{registry="docker.io"} 7"#,
            r#"hallmark_registry_rate_limit_window_seconds{registry="docker.io"} 21600"#,
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
        }
        // Its twin: who says nothing of limits has none, rather than one of zero.
        assert!(!text.contains(r#"rate_limit{registry="r.example:5000"}"#), "{text}");
    }

    #[test]
    fn only_the_policies_in_force_are_shown() {
        let metrics = Metrics::default();
        let policy = |digest: &str| PolicyInForce { name: "production".into(), digest: digest.into() };
        metrics.policies_loaded(&[policy("sha256:old")]);
        metrics.policies_loaded(&[policy("sha256:new")]);
        metrics.policies_failed();
        let text = metrics.encode().unwrap();
        assert!(text.contains("sha256:new") && !text.contains("sha256:old"), "{text}");
        assert!(text.contains("hallmark_policy_current 0"));
        assert!(text.contains(r#"hallmark_policy_loads_total{result="failure"} 1"#));
    }
}
