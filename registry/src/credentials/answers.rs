//! What programs have answered: one run for any number of askers, kept for a while, asked again when it is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use hallmark_policy::image::Repository;
use tokio::sync::Semaphore;

use super::Credential;
use super::docker_helper::Helper;
use super::error::Unavailable;
use super::limits::{DOUBTFUL_LIFETIME, FAILURE_LIFETIME, MAX_KEPT, MAX_LIFETIME, MAX_RUNNING, RUN_TIMEOUT};
use super::provider::Provider;
use super::scope::Scope;
use crate::remembered::Remembered;

/// What an answer is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum About {
    Everything,
    Host(String),
    Repository(String),
}

/// What a program has answered.
pub(super) struct Answer {
    pub(super) about: About,
    pub(super) entries: Vec<(Scope, Credential)>,
    pub(super) lifetime: Duration,
}

/// Who is asked.
#[derive(Clone)]
pub(super) enum Asked {
    Helper(Helper),
    Provider(Arc<Provider>),
}

/// An answer that was used, so that it can be asked for again when it is refused.
#[derive(Clone)]
pub(super) struct Used {
    key: Key,
    answer: Arc<Answer>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    program: String,
    about: About,
}

type Told = Result<Arc<Answer>, String>;

/// What is kept, and when it is asked for anew while it still counts.
#[derive(Clone)]
struct Kept {
    answer: Arc<Answer>,
    renew_at: Instant,
}

type Run = Shared<BoxFuture<'static, Told>>;

/// What programs have answered, and what they are being asked.
pub(super) struct Answers {
    kept: Remembered<Key, Kept>,
    /// Failures of just now.
    failed: Remembered<Key, String>,
    /// Answers that a registry has refused: the same once more is not asked for again at once.
    refused: Remembered<Key, Arc<Answer>>,
    /// Who leaves is not waited for: with the last asker, the run ends.
    runs: Mutex<HashMap<Key, WeakShared<BoxFuture<'static, Told>>>>,
    turns: Semaphore,
    timeout: Duration,
}

impl Answer {
    /// The credential of the narrowest scope that covers a repository.
    pub(super) fn credential(&self, repository: &Repository) -> Option<&Credential> {
        let covering = self.entries.iter().filter(|(scope, _)| scope.covers(repository));
        covering.max_by_key(|(scope, _)| scope.narrowness()).map(|(_, credential)| credential)
    }
}

impl About {
    fn covers(&self, repository: &Repository) -> bool {
        match self {
            Self::Everything => true,
            Self::Host(host) => host == repository.host(),
            Self::Repository(name) => *name == repository.to_string(),
        }
    }
}

impl Asked {
    /// The program's name.
    pub(super) fn program(&self) -> String {
        match self {
            Self::Helper(helper) => helper.program(),
            Self::Provider(provider) => provider.name.clone(),
        }
    }

    /// What tells its answers apart from those of others: a provider may have a helper's name.
    fn key(&self) -> String {
        match self {
            Self::Helper(helper) => format!("helper {}", helper.name),
            Self::Provider(provider) => format!("provider {}", provider.name),
        }
    }

    async fn ask(&self, repository: &Repository, timeout: Duration) -> Result<Answer, String> {
        match self {
            Self::Helper(helper) => helper.ask(repository, timeout).await,
            Self::Provider(provider) => provider.ask(repository, timeout).await,
        }
    }
}

impl Answers {
    pub(super) fn new() -> Self {
        Self::with_timeout(RUN_TIMEOUT)
    }

    pub(super) fn with_timeout(timeout: Duration) -> Self {
        Self {
            kept: Remembered::with_capacity(MAX_KEPT),
            failed: Remembered::with_capacity(MAX_KEPT),
            refused: Remembered::with_capacity(MAX_KEPT),
            runs: Mutex::default(),
            turns: Semaphore::new(MAX_RUNNING),
            timeout,
        }
    }

    /// The same with nothing in it, for other programs of the same names.
    pub(super) fn emptied(&self) -> Arc<Self> {
        Arc::new(Self::with_timeout(self.timeout))
    }

    /// What a program says of a repository: what it said before, or what it says now.
    pub(super) async fn ask(
        self: &Arc<Self>,
        asked: &Asked,
        repository: &Repository,
        deadline: Instant,
    ) -> Result<(Arc<Answer>, Used), Unavailable> {
        let host = About::Host(repository.host().to_owned());
        let own = About::Repository(repository.to_string());
        let used = |answer: &Arc<Answer>| {
            let key = Key { program: asked.key(), about: answer.about.clone() };
            (Arc::clone(answer), Used { key, answer: Arc::clone(answer) })
        };
        // What an answer is about is known when it is there: at first one run serves all repositories of a host, and
        // whose it does not serve ask for themselves.
        for about in [host, own] {
            let key = Key { program: asked.key(), about };
            let failed = self.failed.find(&key);
            if let Some(kept) = self.find(asked, repository) {
                if kept.renew_at <= Instant::now() && failed.is_none() {
                    tokio::spawn(self.join(key, asked, repository));
                }
                return Ok(used(&kept.answer));
            }
            if let Some(problem) = failed {
                return Err(Unavailable::Failed(problem));
            }
            let run = self.join(key, asked, repository);
            let told = tokio::time::timeout_at(deadline.into(), run).await.map_err(|_| Unavailable::Deadline)?;
            let answer = told.map_err(Unavailable::Failed)?;
            if answer.about.covers(repository) {
                return Ok(used(&answer));
            }
        }
        Err(Unavailable::Failed(format!("`{}` answered about another repository", asked.program())))
    }

    /// Takes note that a registry has refused an answer. Says whether it is worth asking again: not where the program
    /// was asked again and said the same.
    pub(super) fn refuse(&self, used: &Used) -> bool {
        match self.kept.find(&used.key) {
            None => true,
            // Somebody has asked again already.
            Some(now) if !Arc::ptr_eq(&now.answer, &used.answer) => !says_the_same(&now.answer, &used.answer),
            Some(now) => {
                if self.refused.find(&used.key).is_some_and(|before| says_the_same(&before, &now.answer)) {
                    return false;
                }
                self.refused.insert(used.key.clone(), now.answer, MAX_LIFETIME);
                self.kept.forget(&used.key);
                true
            }
        }
    }

    fn find(&self, asked: &Asked, repository: &Repository) -> Option<Kept> {
        let abouts =
            [About::Repository(repository.to_string()), About::Host(repository.host().to_owned()), About::Everything];
        abouts.into_iter().find_map(|about| self.kept.find(&Key { program: asked.key(), about }))
    }

    fn join(self: &Arc<Self>, key: Key, asked: &Asked, repository: &Repository) -> Run {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = runs.get(&key).and_then(WeakShared::upgrade) {
            return run;
        }
        let (answers, asked, repository) = (Arc::clone(self), asked.clone(), repository.clone());
        let failed = key.clone();
        let run = async move { answers.run(failed, &asked, &repository).await }.boxed().shared();
        runs.retain(|_, run| run.upgrade().is_some());
        if let Some(weak) = run.downgrade() {
            runs.insert(key, weak);
        }
        run
    }

    async fn run(&self, key: Key, asked: &Asked, repository: &Repository) -> Told {
        let _turn = self.turns.acquire().await;
        let about = format!("`{}` for `{}`", asked.program(), repository.host());
        match asked.ask(repository, self.timeout).await {
            Ok(answer) => {
                let key = Key { about: answer.about.clone(), ..key };
                let answer = Arc::new(answer);
                let is_doubtful = self.refused.find(&key).is_some_and(|before| says_the_same(&before, &answer));
                let most = if is_doubtful { DOUBTFUL_LIFETIME } else { MAX_LIFETIME };
                let lifetime = answer.lifetime.min(most);
                if !lifetime.is_zero() {
                    // Who uses it steadily never waits for the next one.
                    let kept = Kept { answer: Arc::clone(&answer), renew_at: Instant::now() + lifetime * 3 / 4 };
                    self.kept.insert(key, kept, lifetime);
                }
                Ok(answer)
            }
            Err(problem) => {
                let problem = format!("{about} {problem}");
                // What is kept stays good for its time.
                self.failed.insert(key, problem.clone(), FAILURE_LIFETIME);
                Err(problem)
            }
        }
    }
}

fn says_the_same(one: &Answer, other: &Answer) -> bool {
    one.entries == other.entries
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_renewed_before_it_ends_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker-credential-stand-in");
        let write = |script: &str| {
            std::fs::write(&path, format!("#!/bin/sh\ncd '{}'\n{script}\n", folder.path().display())).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        };
        let secret = r#"echo run >> runs; echo '{"Username":"ann","Secret":"s"}'"#;
        write(secret);
        let directories = Arc::from([folder.path().to_owned()]);
        let asked = Asked::Helper(Helper { name: "stand-in".to_owned(), directories });
        let (answers, repository) = (Arc::new(Answers::new()), "r.example/app".parse().unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        let ask = || answers.ask(&asked, &repository, deadline);
        let (_, used) = ask().await.unwrap();
        let runs = || std::fs::read_to_string(folder.path().join("runs")).unwrap().lines().count();
        // As if most of its time were over.
        let age = || {
            let kept = answers.kept.find(&used.key).unwrap();
            answers.kept.insert(used.key.clone(), Kept { renew_at: Instant::now(), ..kept }, Duration::from_secs(60));
        };
        age();
        // A program that fails now costs nobody anything, and is not started for each asker.
        write("echo failed >> failures; exit 1");
        let failures = || std::fs::read_to_string(folder.path().join("failures")).unwrap_or_default().lines().count();
        while answers.failed.find(&used.key).is_none() {
            assert!(Arc::ptr_eq(&ask().await.unwrap().0, &used.answer));
            tokio::task::yield_now().await;
        }
        assert_eq!((runs(), failures()), (1, 1));
        answers.failed.forget(&used.key);
        write(secret);
        while Arc::ptr_eq(&answers.kept.find(&used.key).unwrap().answer, &used.answer) {
            ask().await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(runs(), 2);
    }
}
