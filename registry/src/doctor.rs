//! What a registry can do: looked at by reading, and by writing where the user names a repository for that.

use std::time::{Duration, Instant};

use hallmark_policy::Timestamp;
use hallmark_policy::evidence::{Cause, Observation};
use hallmark_policy::image::{Descriptor, Digest, ImageReference, Manifest, PinnedImage, Repository, Tag, media_type};
use http::header::{ACCEPT, DATE, HeaderValue};
use http::{Method, StatusCode};

use crate::Registry;
use crate::endpoint::authority;
use crate::mirror::Serves;
use crate::push::PushError;
use crate::quote::{error_body, quote};
use crate::read::status_cause;
use crate::registry::Shared;
use crate::transport::{Failure, Probe, Response};
use crate::upload::Begun;

/// A clock that is further off than this breaks tokens, certificates and the dates of signatures.
const MAX_SKEW: Duration = Duration::from_secs(60);
/// What the doctor's own artifact says that it is.
const ARTIFACT_TYPE: &str = "application/vnd.hallmark.doctor.v1";
/// The content of the empty descriptor (image-spec, "Guidance for an Empty Descriptor").
const EMPTY: &[u8] = b"{}";

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at: a name that stays the same.
    pub name: &'static str,
    /// What was found.
    pub finding: Finding,
    /// What that means, in a sentence.
    pub detail: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It works.
    Good,
    /// It does not, and something else is done in its place.
    Lacking,
    /// Nothing to judge.
    Note,
    /// It could not be found out.
    Unknown(Cause),
    /// It does not work as it must.
    Wrong,
}

impl Check {
    /// What to do about it, where something is wrong on the way to the registry.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        if self.finding != Finding::Wrong {
            return None;
        }
        match self.name {
            "address" => Some("let the registry speak TLS; `--registry-ca-cert` believes an authority of your own"),
            "clock" => {
                Some("let both clocks be set by NTP; tokens, certificates and the dates of signatures depend on them")
            }
            "connection" => {
                Some("check the port, and that no firewall is in the way; a proxy is taken from `HTTPS_PROXY`")
            }
            "credentials" => Some("run the program by hand; `docs/reference/credentials.md` says how it is asked"),
            "name" => Some("check the spelling, and the resolver of this machine (`getent hosts NAME`)"),
            "tls" => {
                Some("give the authority of its certificate with `--registry-ca-cert`, and check this machine's clock")
            }
            _ => None,
        }
    }
}

impl Registry {
    /// Looks at a registry without writing anything. With `repository_is_meant`, also at that repository; without, its
    /// path is only a name to ask by.
    pub async fn diagnose(&self, repository: &Repository, repository_is_meant: bool) -> Vec<Check> {
        let doctor = Doctor { shared: &self.shared, repository };
        let mut checks = vec![doctor.address(), doctor.credentials().await];
        checks.extend(doctor.way().await);
        let (reach, tls, answer) = doctor.reach(repository_is_meant).await;
        checks.extend(tls);
        checks.push(reach);
        if let Some((response, took)) = answer {
            checks.push(clock(&response, self.shared.now(), took));
            if repository_is_meant {
                checks.push(doctor.referrers().await);
                checks.push(doctor.tags().await);
            }
        }
        checks.extend(self.traffic().into_iter().filter(|host| host.host == repository.host()).filter_map(|host| {
            let limit = host.rate_limit?;
            Some(Check { name: "rate-limit", finding: Finding::Note, detail: limit.to_string() })
        }));
        checks.extend(doctor.mirrors());
        checks
    }

    /// Pushes a small image and something attached to it, looks at what becomes of them, and deletes them again.
    pub async fn diagnose_by_writing(&self, repository: &Repository) -> Vec<Check> {
        let doctor = Doctor { shared: &self.shared, repository };
        doctor.write().await
    }
}

struct Doctor<'a> {
    shared: &'a Shared,
    repository: &'a Repository,
}

impl Doctor<'_> {
    fn address(&self) -> Check {
        match self.shared.request(self.repository, Method::GET, "tags/list", self.shared.deadline()) {
            Err(cause) => unknown("address", cause),
            Ok(request) if request.endpoint.is_plain_http() => {
                let is_local = request.endpoint.is_local;
                let finding = if is_local { Finding::Note } else { Finding::Wrong };
                let who = if is_local { "nobody but this machine" } else { "anybody on the way" };
                let detail =
                    format!("`{}` is spoken to over plain HTTP: {who} can read and change it", request.endpoint.base);
                Check { name: "address", finding, detail }
            }
            Ok(request) => good("address", format!("`{}` is spoken to over TLS", request.endpoint.base)),
        }
    }

    async fn credentials(&self) -> Check {
        let deadline = self.shared.deadline();
        let detail = match self.shared.credentials.explain(self.repository, deadline).await {
            Ok(detail) => detail,
            Err(problem) => {
                return Check { name: "credentials", finding: Finding::Wrong, detail: problem };
            }
        };
        Check { name: "credentials", finding: Finding::Note, detail }
    }

    /// The steps before the first request: a name, and a connection.
    async fn way(&self) -> Vec<Check> {
        let Ok(request) = self.shared.request(self.repository, Method::GET, "", self.shared.deadline()) else {
            // What is wrong with the name is said by the others.
            return Vec::new();
        };
        let host = authority(&request.endpoint.base);
        let Probe { proxy, name, connection } = self.shared.clients.probe(&request.endpoint).await;
        if let Some(proxy) = proxy {
            let detail = format!("`{proxy}` is asked for it, which resolves and dials for itself");
            return vec![Check { name: "proxy", finding: Finding::Note, detail }];
        }
        let name = name.map(|found| match found {
            Ok(addresses) => {
                let shown: Vec<String> = addresses.iter().take(4).map(ToString::to_string).collect();
                let more = if addresses.len() > shown.len() { ", ..." } else { "" };
                good("name", format!("`{host}` is at {}{more}", shown.join(", ")))
            }
            Err(problem) => wrong("name", format!("`{host}` cannot be resolved: {problem}")),
        });
        let connection = connection.map(|connected| match connected {
            Ok((address, took)) => {
                good("connection", format!("{address} takes connections, in {} ms", took.as_millis()))
            }
            Err(problem) => wrong("connection", format!("no connection comes about: {problem}")),
        });
        name.into_iter().chain(connection).collect()
    }

    /// GET of `/v2/` (distribution-spec, "Determining Support"); or of the repository's tags, which needs the
    /// permission that verification needs. With it, what became of TLS.
    async fn reach(&self, repository_is_meant: bool) -> (Check, Option<Check>, Option<(Response, Duration)>) {
        let mut request = match self.shared.request(self.repository, Method::GET, "tags/list", self.shared.deadline()) {
            Ok(request) => request,
            Err(cause) => return (unknown("reach", cause), None, None),
        };
        match repository_is_meant {
            true => drop(request.url.query_pairs_mut().append_pair("n", "1")),
            false => request.url.set_path("/v2/"),
        }
        let started = Instant::now();
        let response = match self.shared.transport.send(&request).await {
            Ok(response) => response,
            Err(failure) => {
                let tls = match &failure {
                    Failure::Tls(problem) => Some(wrong("tls", format!("no TLS comes about: {problem}"))),
                    _ => None,
                };
                return (unknown("reach", failure.cause(&request)), tls, None);
            }
        };
        let is_plain = request.endpoint.is_plain_http();
        let tls = (!is_plain).then(|| good("tls", "TLS comes about, with a certificate that is believed"));
        let took = started.elapsed();
        let what = if repository_is_meant { format!("`{}`", self.repository) } else { "the registry".to_owned() };
        let check = match response.status {
            StatusCode::OK => good("reach", format!("{what} answers in {} ms", took.as_millis())),
            StatusCode::NOT_FOUND if repository_is_meant => {
                let detail = format!("the registry answers, and there is no repository `{}`", self.repository);
                Check { name: "reach", finding: Finding::Lacking, detail }
            }
            _ => unknown("reach", status_cause(&request, &response)),
        };
        (check, tls, Some((response, took)))
    }

    async fn referrers(&self) -> Check {
        let (name, deadline) = ("referrers-api", self.shared.deadline());
        let path = format!("referrers/{}", Digest::of(EMPTY));
        let mut request = match self.shared.request(self.repository, Method::GET, &path, deadline) {
            Ok(request) => request,
            Err(cause) => return unknown(name, cause),
        };
        request.headers.insert(ACCEPT, HeaderValue::from_static(media_type::OCI_INDEX));
        let response = match self.shared.transport.send(&request).await {
            Ok(response) => response,
            Err(failure) => return unknown(name, failure.cause(&request)),
        };
        let lacking = || Check {
            name,
            finding: Finding::Lacking,
            detail: "it has none: signatures are listed in an index under the tag `sha256-<hex>`".to_owned(),
        };
        match response.status {
            StatusCode::OK => good(name, "it lists what refers to an image"),
            StatusCode::METHOD_NOT_ALLOWED => lacking(),
            StatusCode::NOT_FOUND if error_body(&response.body).is_none() => lacking(),
            StatusCode::NOT_FOUND => {
                let detail = "it answers 404 for what nobody refers to; whether it has one shows with an image of it";
                Check { name, finding: Finding::Note, detail: detail.to_owned() }
            }
            _ => unknown(name, status_cause(&request, &response)),
        }
    }

    async fn tags(&self) -> Check {
        let name = "tags";
        match self.shared.list_tags(self.repository, self.shared.deadline()).await {
            Observation::Found(tags) => good(name, format!("{} tags can be listed", tags.len())),
            Observation::Absent => {
                let detail = "there are none".to_owned();
                Check { name, finding: Finding::Note, detail }
            }
            Observation::Unknown(cause) => unknown(name, cause),
        }
    }

    fn mirrors(&self) -> Vec<Check> {
        let note = |detail| Check { name: "mirrors", finding: Finding::Note, detail };
        let mut hosts: Vec<&str> = Vec::new();
        for wanted in [Serves::Digests, Serves::Tags] {
            for mirror in self.shared.routes.mirrors(self.repository, wanted) {
                if !hosts.contains(&mirror.host.as_str()) {
                    hosts.push(&mirror.host);
                }
            }
        }
        hosts.into_iter().map(|host| note(format!("`{host}` is asked first for what it serves"))).collect()
    }

    async fn write(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        let Ok(random) = getrandom::u64() else {
            return vec![wrong("push", "the system gives no random bytes".to_owned())];
        };
        let config = format!(r#"{{"architecture":"none","os":"none","author":"hallmark doctor {random:016x}"}}"#);
        let image = match self.push_image(config.as_bytes(), random).await {
            Ok(image) => image,
            Err(error) => return vec![pushed("push", &error)],
        };
        checks.push(good("push", "blobs and manifests are taken, by digest and by tag"));
        checks.push(self.mount(Digest::of(config.as_bytes())).await);
        let (attached, more) = self.attach(&image.subject).await;
        checks.extend(more);
        let tag = image.tag.tag().map(Tag::to_string);
        let written: Vec<(Digest, Option<String>)> =
            attached.into_iter().map(|digest| (digest, None)).chain([(image.subject.digest, tag)]).collect();
        checks.push(self.delete(&written).await);
        checks
    }

    async fn push_image(&self, config: &[u8], random: u64) -> Result<Pushed, PushError> {
        let (shared, repository) = (self.shared, self.repository);
        shared.push_blob(repository, config, shared.deadline()).await?;
        let bytes = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, config), Vec::new()).encode();
        let subject = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        let by_digest = PinnedImage { repository: repository.clone(), digest: subject.digest };
        shared.push_manifest(&by_digest.into(), media_type::OCI_MANIFEST, &bytes, shared.deadline()).await?;
        let name = format!("{repository}:hallmark-doctor-{random:016x}");
        let tag: ImageReference = name.parse().map_err(|_| PushError::Location { problem: name })?;
        shared.push_manifest(&tag, media_type::OCI_MANIFEST, &bytes, shared.deadline()).await?;
        Ok(Pushed { subject, tag })
    }

    /// Mounts a blob of the repository into itself: a registry that mounts at all does that.
    async fn mount(&self, digest: Digest) -> Check {
        let deadline = self.shared.deadline();
        match self.shared.begin_upload(self.repository, digest, Some(self.repository), deadline).await {
            Ok(Begun::Mounted) => good("mount", "blobs of other repositories are taken over without being sent"),
            Ok(Begun::Upload(_)) => Check {
                name: "mount",
                finding: Finding::Lacking,
                detail: "it mounts no blobs: copies within the registry send them".to_owned(),
            },
            Err(error) => pushed("mount", &error),
        }
    }

    /// Attaches an artifact with its content inside the descriptor, and without where that is refused.
    async fn attach(&self, subject: &Descriptor) -> (Option<Digest>, Vec<Check>) {
        let (shared, repository) = (self.shared, self.repository);
        let mut checks = Vec::new();
        if let Err(error) = shared.push_blob(repository, EMPTY, shared.deadline()).await {
            return (None, vec![pushed("attach", &error)]);
        }
        for inlined in [true, false] {
            let empty = Descriptor::of(media_type::OCI_EMPTY, EMPTY);
            let layer = if inlined { empty.clone().with_data(EMPTY) } else { empty.clone() };
            let mut manifest = Manifest::new(empty, vec![layer]);
            manifest.artifact_type = Some(ARTIFACT_TYPE.to_owned());
            manifest.subject = Some(subject.clone());
            let bytes = manifest.encode();
            let image = PinnedImage { repository: repository.clone(), digest: Digest::of(&bytes) };
            match shared.push_manifest(&image.into(), media_type::OCI_MANIFEST, &bytes, shared.deadline()).await {
                Ok(pushed) => {
                    checks.push(match inlined {
                        true => {
                            good("inlined-data", "descriptors may carry small contents, which saves readers a request")
                        }
                        false => {
                            lacking("inlined-data", "it refuses descriptors with `data`: readers need one request more")
                        }
                    });
                    checks.push(match pushed.subject {
                        Some(found) if found == subject.digest => {
                            good("oci-subject", "it says that it lists what refers to an image")
                        }
                        Some(_) => {
                            wrong("oci-subject", "it names another subject than that of what was pushed".to_owned())
                        }
                        None => {
                            lacking("oci-subject", "it does not list what refers to an image: clients keep an index")
                        }
                    });
                    if pushed.subject.is_some() {
                        checks.push(self.is_listed(subject.digest, pushed.digest).await);
                    }
                    return (Some(pushed.digest), checks);
                }
                Err(PushError::Refused { .. }) if inlined => {}
                Err(error) => {
                    checks.push(pushed("attach", &error));
                    return (None, checks);
                }
            }
        }
        (None, checks)
    }

    async fn is_listed(&self, subject: Digest, referrer: Digest) -> Check {
        let image = PinnedImage { repository: self.repository.clone(), digest: subject };
        let listing = self.shared.list_referrers(&image, self.shared.deadline()).await;
        match listing.whole(self.repository.host()) {
            Ok(listed) if listed.contains(&referrer) => good("listed-at-once", "what was attached is listed at once"),
            Ok(_) => wrong("listed-at-once", "what was attached is not listed although it says so".to_owned()),
            Err(cause) => unknown("listed-at-once", cause),
        }
    }

    /// DELETE of everything that was written (distribution-spec, "Deleting Manifests"). Tags go with their manifests.
    async fn delete(&self, written: &[(Digest, Option<String>)]) -> Check {
        let mut left = Vec::new();
        for (digest, tag) in written {
            // Some registries want the tag to be deleted first.
            for name in tag.iter().cloned().chain([digest.to_string()]) {
                let path = format!("manifests/{name}");
                let deleted = match self.shared.request(self.repository, Method::DELETE, &path, self.shared.deadline())
                {
                    Ok(request) => self.shared.transport.send(&request).await.map(|response| response.status),
                    Err(cause) => return unknown("delete", cause),
                };
                let is_gone = matches!(
                    deleted,
                    Ok(StatusCode::ACCEPTED | StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::NOT_FOUND)
                );
                if !is_gone && name.starts_with("sha") {
                    left.push(format!("{}@{digest}", self.repository));
                }
            }
        }
        match left.is_empty() {
            true => good("delete", "what was written was deleted again (its blobs go with the next collection)"),
            false => lacking("delete", &format!("it does not delete; left behind: {}", left.join(", "))),
        }
    }
}

/// The doctor's image.
struct Pushed {
    subject: Descriptor,
    tag: ImageReference,
}

/// The registry's clock against ours (RFC 9110, section 6.6.1), as far as half the time of the answer allows.
fn clock(response: &Response, now: Timestamp, took: Duration) -> Check {
    let name = "clock";
    let date = response.headers.get(DATE).and_then(|date| date.to_str().ok());
    let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date.trim()).ok()) else {
        let detail = "it does not tell its time".to_owned();
        return Check { name, finding: Finding::Note, detail };
    };
    let skew = date.timestamp().duration_since(now).unsigned_abs();
    let off = skew.saturating_sub(took + Duration::from_secs(1));
    match off > MAX_SKEW {
        true => {
            wrong(name, format!("its clock and this machine's differ by {} s: one of them is wrong", skew.as_secs()))
        }
        false => good(name, "its clock and this machine's agree"),
    }
}

fn good(name: &'static str, detail: impl Into<String>) -> Check {
    Check { name, finding: Finding::Good, detail: detail.into() }
}

fn lacking(name: &'static str, detail: &str) -> Check {
    Check { name, finding: Finding::Lacking, detail: detail.to_owned() }
}

fn wrong(name: &'static str, detail: String) -> Check {
    Check { name, finding: Finding::Wrong, detail }
}

fn unknown(name: &'static str, cause: Cause) -> Check {
    Check { name, detail: cause.detail().to_owned(), finding: Finding::Unknown(cause) }
}

fn pushed(name: &'static str, error: &PushError) -> Check {
    match error {
        PushError::Unknown(cause) => unknown(name, cause.clone()),
        error => wrong(name, quote(&error.to_string())),
    }
}
