//! The routes of a client, made once: which one is for a repository, and the registries behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hallmark_policy::Code;
use hallmark_policy::evidence::Cause;
use hallmark_policy::image::Repository;

use super::prefix::{Prefix, Target};
use super::{Location, Route, Serves};
use crate::configuration::ConfigurationError;
use crate::registry::Shared;
use crate::remembered::Remembered;

/// Most routes: a cluster with a route for every team. Each is looked at for every image.
const MAX_ROUTES: usize = 1000;
/// Most mirrors of one route; each may cost its patience.
const MAX_MIRRORS: usize = 8;
/// How long a mirror that failed is left alone.
const PAUSE: Duration = Duration::from_secs(10);
/// Most repositories at which a mirror is left alone. Beyond them the one that was asked about least recently is asked
/// about again.
const MAX_REFUSED: usize = 1024;
/// Most time that a mirror gets for one answer; the original may still be asked after it.
const MAX_PATIENCE: Duration = Duration::from_secs(5);
/// Least time in which it makes sense to ask a mirror, and after which its silence is held against it.
const MIN_PATIENCE: Duration = Duration::from_millis(100);

/// The routes of a client.
#[derive(Default)]
pub(crate) struct Routes {
    rules: Arc<[Rule]>,
    /// Beside the rules, one for each.
    ways: Vec<Ways>,
}

struct Rule {
    prefix: Prefix,
    is_blocked: bool,
}

/// The registries behind a route.
struct Ways {
    /// The original, where it is not where its name says.
    origin: Option<Shared>,
    mirrors: Vec<MirrorView>,
}

/// A mirror, as a client that asks it whatever the original is asked.
pub(crate) struct MirrorView {
    pub(crate) view: Shared,
    pub(crate) host: String,
    pub(crate) serves: Serves,
    /// Where it failed a moment ago: at one repository, or altogether.
    is_down: Remembered<Option<Repository>, ()>,
    /// That it failed was told a moment ago.
    is_told: Remembered<(), ()>,
}

/// Where a client's requests go instead of to the registry that a repository names.
#[derive(Clone)]
pub(crate) struct Via {
    prefix: Prefix,
    target: Target,
}

impl Routes {
    /// Checks the routes, and makes a client for each place. `shared` has no routes itself.
    pub(crate) fn new(routes: &[Route], shared: &Shared) -> Result<Self, ConfigurationError> {
        let error =
            |route: &Route, problem: String| ConfigurationError::Route { prefix: route.prefix.clone(), problem };
        let mut rules: Vec<Rule> = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            let prefix = Prefix::parse(&route.prefix).map_err(|problem| error(route, problem.to_owned()))?;
            if rules.iter().any(|rule| rule.prefix == prefix) {
                return Err(error(route, "stands twice".to_owned()));
            }
            if index >= MAX_ROUTES || route.mirrors.len() > MAX_MIRRORS {
                let problem = format!("is beyond the limit of {MAX_ROUTES} routes with {MAX_MIRRORS} mirrors each");
                return Err(error(route, problem));
            }
            rules.push(Rule { prefix, is_blocked: route.is_blocked });
        }
        let rules: Arc<[Rule]> = rules.into();
        let view = |route: &Route, rule: &Rule, location: &Location| {
            let target = Target::new(location)
                .map_err(|problem| error(route, format!("leads to `{}`, which {problem}", location.address)))?;
            let host = target.host().to_owned();
            let only_rules = Self { rules: Arc::clone(&rules), ways: Vec::new() };
            Ok((shared.view(Via { prefix: rule.prefix.clone(), target }, only_rules), host))
        };
        let mut ways = Vec::new();
        for (route, rule) in routes.iter().zip(rules.iter()) {
            let origin = route.location.as_ref().map(|location| view(route, rule, location)).transpose()?;
            let mirrors = route.mirrors.iter().map(|mirror| {
                let (view, host) = view(route, rule, &mirror.location)?;
                let (is_down, is_told) = (Remembered::with_capacity(MAX_REFUSED), Remembered::with_capacity(1));
                Ok(MirrorView { view, host, serves: mirror.serves, is_down, is_told })
            });
            ways.push(Ways { origin: origin.map(|(view, _)| view), mirrors: mirrors.collect::<Result<_, _>>()? });
        }
        Ok(Self { rules, ways })
    }

    /// Why nothing may be asked about a repository.
    pub(crate) fn refusal(&self, repository: &Repository) -> Option<Cause> {
        let rule = self.rules.iter().filter(|rule| match rule.is_blocked {
            true => rule.prefix.blocks(repository),
            false => rule.prefix.rest(repository).is_some(),
        });
        let decides = rule.max_by_key(|rule| (rule.prefix.specificity(), rule.is_blocked))?;
        let detail = || format!("`{repository}` is below a name that the configuration of registries blocks");
        decides.is_blocked.then(|| Cause::new(Code::RegistryBlocked, detail()))
    }

    /// The original, where it is not where its name says.
    pub(crate) fn origin(&self, repository: &Repository) -> Option<&Shared> {
        self.find(repository)?.origin.as_ref()
    }

    /// The mirrors that are asked for this, in their order. None for what is blocked.
    pub(crate) fn mirrors(&self, repository: &Repository, wanted: Serves) -> impl Iterator<Item = &MirrorView> {
        let ways = self.find(repository).filter(|_| self.refusal(repository).is_none());
        let mirrors = ways.into_iter().flat_map(|ways| &ways.mirrors);
        mirrors.filter(move |mirror| mirror.serves == wanted || mirror.serves == Serves::DigestsAndTags)
    }

    /// The hosts that are asked about a repository: where the original is, and its mirrors.
    pub(crate) fn hosts<'a>(&'a self, repository: &'a Repository) -> impl Iterator<Item = &'a str> {
        let ways = self.find(repository);
        let origin = ways.and_then(|ways| ways.origin.as_ref()?.via.as_ref()).map(|via| via.target.host());
        let mirrors = ways.into_iter().flat_map(|ways| &ways.mirrors).map(|mirror| mirror.host.as_str());
        std::iter::once(origin.unwrap_or(repository.host())).chain(mirrors)
    }

    fn find(&self, repository: &Repository) -> Option<&Ways> {
        let both = self.rules.iter().zip(&self.ways).filter(|(rule, _)| rule.prefix.rest(repository).is_some());
        both.max_by_key(|(rule, _)| rule.prefix.specificity()).map(|(_, ways)| ways)
    }
}

impl MirrorView {
    /// Until when this mirror is waited for, when there is something to do until `deadline`; nothing when it is not to
    /// be asked about a repository now. A third of the time, so that one after it, and the original, have theirs.
    pub(crate) fn patience(&self, repository: &Repository, deadline: Instant) -> Option<Instant> {
        if self.is_down.find(&None).is_some() || self.is_down.find(&Some(repository.clone())).is_some() {
            return None;
        }
        let now = Instant::now();
        let patience = (deadline.saturating_duration_since(now) / 3).min(MAX_PATIENCE);
        (patience >= MIN_PATIENCE).then(|| now + patience)
    }

    /// It did not answer, or not with what was asked for: it is left alone for a while.
    ///
    /// Whoever may ask about an image may ask about repositories that a mirror refuses: that keeps nobody else from what it
    /// serves.
    pub(crate) fn failed(&self, repository: &Repository, cause: &Cause) {
        let at = (!is_of_all(cause)).then(|| repository.clone());
        if self.is_told.find(&()).is_none() {
            let (host, repository) = (&self.host, at.as_ref().map(tracing::field::display));
            let problem = cause.detail();
            tracing::warn!(mirror = %host, repository, problem, "a mirror failed, and is not asked for a while");
            self.is_told.insert((), (), PAUSE);
        }
        self.is_down.insert(at, (), PAUSE);
    }

    /// The same for several answers about a repository: the worst counts.
    pub(crate) fn failed_somewhere(&self, repository: &Repository, causes: &[Cause]) {
        if let Some(cause) = causes.iter().find(|cause| is_of_all(cause)).or(causes.first()) {
            self.failed(repository, cause);
        }
    }
}

/// Whether the trouble is with the host, and not with a repository of it.
fn is_of_all(cause: &Cause) -> bool {
    matches!(cause.code(), Code::DeadlineExceeded | Code::RegistryAddressRefused | Code::RegistryUnavailable)
}

impl Via {
    /// The repository that is really asked, the path of the API there, and the host that it is to be told.
    pub(crate) fn resolve(&self, repository: &Repository) -> Result<(Repository, &str, Option<String>), Cause> {
        let there = self.prefix.rest(repository).and_then(|rest| self.target.repository(rest)).ok_or_else(|| {
            let detail = format!("`{repository}` has no name at `{}`", self.target.host());
            Cause::new(Code::RegistryUnavailable, detail)
        })?;
        let namespace = self.target.with_namespace.then(|| repository.host().to_owned());
        Ok((there, &self.target.api_root, namespace))
    }
}

#[cfg(test)]
mod tests {
    use hallmark_policy::Timestamp;

    use super::super::Mirror;
    use super::*;
    use crate::{Configuration, Registry};

    /// The bounds are exact: only the clock goes on between them.
    #[test]
    fn a_mirror_gets_a_third_of_the_time_and_five_seconds_at_most_and_nothing_after_it_failed() {
        let mirrors = vec![Mirror { location: Location::new("m.example"), serves: Serves::Digests }];
        let route = Route { prefix: "r.example".to_owned(), location: None, is_blocked: false, mirrors };
        let configuration = Configuration { routes: vec![route], ..Configuration::default() };
        let registry = Registry::new(configuration, Arc::new(|| Timestamp::UNIX_EPOCH)).unwrap();
        let repository: Repository = "r.example/app".parse().unwrap();
        let mirror = registry.shared.routes.mirrors(&repository, Serves::Digests).next().unwrap();
        let third = |now: Instant, deadline: Instant| now + (deadline.saturating_duration_since(now) / 3);
        for seconds in [3, 9, 15] {
            let before = Instant::now();
            let deadline = before + Duration::from_secs(seconds);
            let until = mirror.patience(&repository, deadline).unwrap();
            assert!(third(before, deadline) <= until && until <= third(Instant::now(), deadline), "{seconds}");
        }
        let before = Instant::now();
        let until = mirror.patience(&repository, before + Duration::from_secs(3600)).unwrap();
        assert!(before + MAX_PATIENCE <= until && until <= Instant::now() + MAX_PATIENCE);
        let short = Instant::now() + MIN_PATIENCE * 2;
        assert_eq!(mirror.patience(&repository, short), None, "it could not answer in a third of that");
        let other: Repository = "r.example/other".parse().unwrap();
        let is_asked =
            |repository: &Repository| mirror.patience(repository, Instant::now() + Duration::from_secs(3600)).is_some();
        let cause = |code| Cause::new(code, "on purpose");
        mirror.failed_somewhere(&other, &[]);
        assert!(is_asked(&repository) && is_asked(&other));
        mirror.failed(&other, &cause(Code::RegistryUnauthorized));
        assert!(is_asked(&repository) && !is_asked(&other), "it refuses one repository");
        let both = [cause(Code::RegistryUnauthorized), cause(Code::RegistryUnavailable)];
        mirror.failed_somewhere(&other, &both);
        assert!(!is_asked(&repository) && !is_asked(&other), "it does not work");
    }
}
