//! Answers challenges. The real request goes first; what its 401 asks for is remembered for the next ones.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::AUTHORIZATION;
use ::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::account::Shown;
use super::challenge::{Challenge, challenges};
use super::door::{Asked, Door, Knock};
use super::grants::{Grants, Service};
use super::sight::Sights;
use super::{Account, Failure, Redirects, Request, Response, Transfer, Transport, token};
use crate::content_cache::Partition;
use crate::credentials::{Credential, CredentialSource, Lookup, Unavailable};
use crate::remembered::Remembered;

/// How long an idle registry is remembered.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Most registries that are remembered.
const CAPACITY: usize = 4096;
/// Most bytes of what the API's root says; the specification has it say nothing.
const MAX_ROOT_BYTES: usize = 64 * 1024;

/// Tells accounts apart within this process. It never leaves it, so that nobody needs to be kept from guessing.
const SALT: [u8; 32] = [0; 32];

/// Answers challenges.
pub(super) struct Auth<T> {
    inner: Arc<T>,
    credentials: CredentialSource,
    doors: Remembered<String, Arc<Door>>,
    grants: Grants,
    sights: Sights,
}

impl<T: Transport + 'static> Auth<T> {
    pub(super) fn new(inner: T, credentials: CredentialSource) -> Self {
        let doors = Remembered::with_capacity(CAPACITY);
        Self { inner: Arc::new(inner), credentials, doors, grants: Grants::new(), sights: Sights::new() }
    }

    async fn send_as_ourselves(&self, request: &Request) -> Result<Response, Failure> {
        // Nothing that a registry merely names is shown who we are.
        if !request.endpoint.is_origin_of(&request.url) {
            return self.inner.send(request).await;
        }
        let door = self.doors.find_or_insert_with(request.endpoint.name.clone(), LIFETIME, Arc::default);
        let knock = match self.sights.how_to_tell(request) {
            Some(asked) => Knock::Known(asked),
            None => door.knock(request.deadline).await,
        };
        let (used, lookup) = match &knock {
            Knock::Known(asked) => self.answer(request, asked, None).await?,
            Knock::First(_) | Knock::Unanswered => (None, Lookup::default()),
        };
        let response = self.inner.send(&with_authorization(request, used.clone())).await?;
        let asked = door.learn(&response, used.is_some());
        // Whoever waits for what this one learned goes on.
        drop(knock);
        match asked {
            _ if response.status != StatusCode::UNAUTHORIZED => {
                if used.is_some() || self.sights.believe(request, &response) {
                    return Ok(response);
                }
                self.ask_as_somebody(request, &door, response).await
            }
            Some(asked) => self.send_with_answer(request, &asked, used, lookup).await,
            None => Err(Failure::Unauthorized(refusal(&lookup, used.is_some()))),
        }
    }

    /// Sends again with an answer to what the 401 asked for.
    async fn send_with_answer(
        &self,
        request: &Request,
        asked: &[Challenge],
        mut used: Option<Shown>,
        mut lookup: Lookup,
    ) -> Result<Response, Failure> {
        // A password that was kept may have been changed meanwhile; a token that was granted just now has not.
        let attempts = if asked.contains(&Challenge::Basic) { 2 } else { 1 };
        for _ in 0..attempts {
            let next;
            (next, lookup) = self.answer(request, asked, used.as_ref()).await?;
            if next.is_none() || next == used {
                break;
            }
            let response = self.inner.send(&with_authorization(request, next.clone())).await?;
            if response.status != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            used = next;
        }
        Err(Failure::Unauthorized(refusal(&lookup, used.is_some())))
    }

    /// Nobody in particular was told that there is nothing. Where we are somebody, we ask as that.
    async fn ask_as_somebody(&self, request: &Request, door: &Door, told: Response) -> Result<Response, Failure> {
        let answer = match self.credentials.find(&request.repository, request.deadline).await {
            Ok(Lookup { credential: None, .. }) => return Ok(told),
            Ok(_) => self.send_unasked(request, door).await,
            Err(unavailable) => Err(unavailable.into()),
        };
        match answer {
            Ok(response) if response.status.is_success() || response.status == StatusCode::NOT_FOUND => Ok(response),
            // Meanwhile another request saw that everybody may see what is there.
            _ if self.sights.is_open(request) => Ok(told),
            answer => answer,
        }
    }

    /// Sends with our credentials though nobody asked for them: in the way in which the API's root asks for them, or else
    /// by Basic. The registry gets no more than if it had asked, and asking it is free to do.
    async fn send_unasked(&self, request: &Request, door: &Door) -> Result<Response, Failure> {
        let asked = door.unasked(request.deadline, self.find_out(request)).await?;
        let (used, lookup) = self.answer(request, &asked, None).await?;
        if used.is_none() {
            let problem = "hides what is there from those it does not know, and does not say how to show it a token";
            return Err(Failure::Unauthorized(problem.to_owned()));
        }
        let response = self.inner.send(&with_authorization(request, used.clone())).await?;
        let response = match response.status {
            StatusCode::UNAUTHORIZED => {
                let asked_now = door.learn(&response, true).unwrap_or_else(|| Arc::clone(&asked));
                self.send_with_answer(request, &asked_now, used, lookup).await?
            }
            _ => response,
        };
        // From now on we say at once who we are.
        if response.status.is_success() || response.status == StatusCode::NOT_FOUND {
            self.sights.tell(request, asked);
        }
        Ok(response)
    }

    /// What the API's root asks of those who come in; Basic where it does not say.
    async fn find_out(&self, request: &Request) -> Result<Asked, Failure> {
        let root = Request {
            method: Method::GET,
            url: request.endpoint.root(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            transfer: Transfer::Whole,
            redirects: Redirects::Refuse,
            limit: MAX_ROOT_BYTES,
            ..request.clone()
        };
        let asked = match self.inner.send(&root).await {
            Ok(response) if response.status == StatusCode::UNAUTHORIZED => challenges(&response.headers),
            Ok(response) if response.status.is_server_error() => {
                let (status, path) = (response.status.as_u16(), root.url.path());
                return Err(Failure::Connection(format!("it answered {status} to `GET {path}`")));
            }
            Ok(_) | Err(Failure::TooLarge { .. }) => Vec::new(),
            Err(failure) => return Err(failure),
        };
        Ok(if asked.is_empty() { Arc::new([Challenge::Basic]) } else { asked.into() })
    }

    /// What answers what is asked, and what is known about us where that had to be found out; `refused` is
    /// what the registry did not accept just now.
    async fn answer(
        &self,
        request: &Request,
        asked: &[Challenge],
        refused: Option<&Shown>,
    ) -> Result<(Option<Shown>, Lookup), Failure> {
        if asked.is_empty() {
            return Ok((None, Lookup::default()));
        }
        let generation = self.credentials.generation().await;
        let held = self.grants.held(request, generation, refused);
        if let Some((shown, false)) = held {
            return Ok((Some(shown), Lookup::default()));
        }
        let lookup = match (self.credentials.find(&request.repository, request.deadline).await, held) {
            (Ok(lookup), _) => lookup,
            // It is time for the next token, and this one is still good.
            (Err(_), Some((shown, _))) => return Ok((Some(shown), Lookup::default())),
            (Err(unavailable), None) => return Err(unavailable.into()),
        };
        let first = self.answer_as(request, asked, generation, &lookup, refused).await;
        let is_refused = match &first {
            Ok(shown) => shown.is_some() && shown.as_ref() == refused,
            Err(failure) => matches!(failure, Failure::Unauthorized(_)),
        };
        if is_refused
            && lookup.credential.is_some()
            && let Some(other) = self.credentials.find_another(&lookup, &request.repository, request.deadline).await?
        {
            let generation = self.credentials.generation().await;
            return Ok((self.answer_as(request, asked, generation, &other, refused).await?, other));
        }
        Ok((first?, lookup))
    }

    /// What somebody answers what is asked.
    async fn answer_as(
        &self,
        request: &Request,
        asked: &[Challenge],
        generation: u64,
        lookup: &Lookup,
        refused: Option<&Shown>,
    ) -> Result<Option<Shown>, Failure> {
        let credential = lookup.credential.as_ref();
        let account = match credential {
            Some(_) => Account::Of(Partition::of(&SALT, &self.credentials, &request.repository)),
            None => Account::Nobody,
        };
        match (choose(asked, request, credential), credential) {
            (Some(Challenge::Basic), Some(Credential::Basic { username, password })) => {
                Ok(Some(Shown { header: token::basic(username, password)?, account }))
            }
            (None | Some(Challenge::Basic), _) => Ok(None),
            (Some(Challenge::Bearer { realm, service }), credential) => {
                let service = Service { realm, name: service.as_deref(), credential, account, generation };
                let shown = self.grants.header(&self.inner, request, service, refused).await;
                shown.map(Some).map_err(|failure| explain(failure, lookup))
            }
        }
    }
}

impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::Deadline => Self::Deadline,
            Unavailable::Failed(problem) => Self::Credentials(problem),
        }
    }
}

impl<T: Transport + 'static> Transport for Auth<T> {
    fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>> {
        self.send_as_ourselves(request).boxed()
    }
}

/// Of several challenges the first one that we can answer. Where there is none, the first one: why it cannot be answered
/// is what the user is told.
fn choose<'a>(asked: &'a [Challenge], request: &Request, credential: Option<&Credential>) -> Option<&'a Challenge> {
    let can_answer = |challenge: &&Challenge| match challenge {
        Challenge::Basic => matches!(credential, Some(Credential::Basic { .. })),
        Challenge::Bearer { realm, .. } => token::check_realm(request, realm, credential).is_ok(),
    };
    asked.iter().find(can_answer).or(asked.first())
}

fn with_authorization(request: &Request, shown: Option<Shown>) -> Request {
    let mut request = request.clone();
    if let Some(Shown { header, account }) = shown {
        request.headers.insert(AUTHORIZATION, header);
        request.account = account;
    }
    request
}

/// Why a 401 is final.
fn refusal(lookup: &Lookup, was_answered: bool) -> String {
    match (&lookup.credential, &lookup.note) {
        (Some(_), _) => "refuses the credentials".to_owned(),
        (None, Some(note)) => format!("asks for credentials: {note}"),
        (None, None) if was_answered => "refuses anonymous access".to_owned(),
        (None, None) => "asks for credentials, and there are none for it".to_owned(),
    }
}

/// A refusal by the token service, with what is known about why we came without credentials.
fn explain(failure: Failure, lookup: &Lookup) -> Failure {
    match (failure, &lookup.note) {
        (Failure::Unauthorized(problem), Some(note)) => Failure::Unauthorized(format!("{problem}; {note}")),
        (failure, _) => failure,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use futures_util::future::join_all;

    use super::super::fake::{answer, request};
    use super::super::now;
    use super::*;

    /// A registry with a token service, each answer of which takes 20 ms.
    struct Guarded {
        /// How long tokens live; `None` is a token service that is out of order.
        seconds: Mutex<Option<u64>>,
        challenge: &'static str,
        log: Mutex<BTreeMap<&'static str, usize>>,
        /// Tokens up to this one are not good any more.
        revoked: Mutex<usize>,
        issued: Mutex<usize>,
        accounts: Mutex<Vec<Account>>,
    }

    const BEARER: &str = r#"Bearer realm="https://registry.example.com/token",service="s""#;

    impl Guarded {
        fn asking(challenge: &'static str) -> Self {
            Self {
                seconds: Mutex::new(Some(300)),
                challenge,
                log: Mutex::default(),
                revoked: Mutex::default(),
                issued: Mutex::default(),
                accounts: Mutex::default(),
            }
        }

        /// How many requests of each kind there were since the last time.
        fn take_log(&self) -> Vec<(&'static str, usize)> {
            std::mem::take(&mut *self.log.lock().unwrap()).into_iter().collect()
        }

        fn serve(&self, request: &Request) -> (&'static str, Result<Response, Failure>) {
            let shown = request.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
            if request.url.path() == "/token" {
                let Some(seconds) = *self.seconds.lock().unwrap() else { return ("token", answer(500, &[])) };
                let mut issued = self.issued.lock().unwrap();
                *issued += 1;
                let mut response = answer(200, &[]).unwrap();
                response.body = Bytes::from(format!(r#"{{"token":"{issued}","expires_in":{seconds}}}"#));
                return ("token", Ok(response));
            }
            let number = shown.as_deref().and_then(|shown| shown.strip_prefix("Bearer ")?.parse::<usize>().ok());
            let is_in = self.challenge.is_empty()
                || number.is_some_and(|number| number > *self.revoked.lock().unwrap())
                || shown.is_some_and(|shown| shown.starts_with("Basic ") && self.challenge.contains("Basic"));
            match is_in {
                true => ("good", answer(200, &[])),
                false => ("401", answer(401, &[("www-authenticate", self.challenge)])),
            }
        }
    }

    impl Transport for Guarded {
        fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>> {
            let (kind, answer) = self.serve(request);
            *self.log.lock().unwrap().entry(kind).or_default() += 1;
            self.accounts.lock().unwrap().push(request.account);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                answer
            }
            .boxed()
        }
    }

    fn guarded(challenge: &'static str) -> Auth<Guarded> {
        Auth::new(Guarded::asking(challenge), CredentialSource::anonymous())
    }

    async fn ask(layer: &Auth<Guarded>, count: usize) -> Vec<Result<Response, Failure>> {
        let mut asked = request(Method::GET, "registry.example.com/app");
        asked.deadline = now() + Duration::from_secs(30);
        let asked = &asked;
        join_all((0..count).map(|_| layer.send(asked))).await
    }

    fn all_good(answers: &[Result<Response, Failure>]) -> bool {
        answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.status == 200))
    }

    #[tokio::test(start_paused = true)]
    async fn must_not_be_challenged_more_than_once_nor_ask_for_more_than_one_token() {
        let layer = guarded(BEARER);
        assert!(all_good(&ask(&layer, 100).await));
        assert_eq!(layer.inner.take_log(), [("401", 1), ("good", 100), ("token", 1)]);
        assert!(all_good(&ask(&layer, 100).await));
        assert_eq!(layer.inner.take_log(), [("good", 100)]);
        // Its twin: a door that asks for nothing is passed without a word.
        let open = guarded("");
        assert!(all_good(&ask(&open, 100).await));
        assert_eq!(open.inner.take_log(), [("good", 100)]);
    }

    #[tokio::test(start_paused = true)]
    async fn must_not_wait_for_a_first_request_that_gets_no_answer() {
        let layer = Auth::new(super::super::fake::Stalls::default(), CredentialSource::anonymous());
        let asked = request(Method::GET, "registry.example.com/app");
        let begun = now();
        let all = join_all((0..9).map(|_| layer.send(&asked)));
        assert!(tokio::time::timeout(Duration::from_millis(900), all).await.is_err());
        assert_eq!(layer.inner.seen(), 1, "the others wait");
        let all = join_all((0..9).map(|_| layer.send(&asked)));
        assert!(tokio::time::timeout(Duration::from_millis(1100), all).await.is_err());
        assert_eq!(layer.inner.seen(), 1 + 9, "for a second, and no longer");
        assert!(now() - begun < Duration::from_millis(2100));
    }

    #[tokio::test(start_paused = true)]
    async fn must_not_ask_a_broken_token_service_once_for_each_waiter() {
        let layer = guarded(BEARER);
        *layer.inner.seconds.lock().unwrap() = None;
        let answers = ask(&layer, 100).await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(Failure::Connection(_)))), "{answers:?}");
        assert_eq!(layer.inner.take_log(), [("401", 1), ("token", 1)]);
        // Its twin: the failure is not remembered.
        *layer.inner.seconds.lock().unwrap() = Some(300);
        assert!(all_good(&ask(&layer, 3).await));
        assert_eq!(layer.inner.take_log(), [("good", 3), ("token", 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_it_ends_while_the_old_one_is_used() {
        let layer = guarded(BEARER);
        assert!(all_good(&ask(&layer, 1).await));
        layer.inner.take_log();
        // 300 seconds, 10 of them not used: it is renewed from 215 seconds on.
        tokio::time::sleep(Duration::from_secs(210)).await;
        assert!(all_good(&ask(&layer, 5).await));
        assert_eq!(layer.inner.take_log(), [("good", 5)]);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let begun = now();
        assert!(all_good(&ask(&layer, 5).await));
        assert_eq!(now() - begun, Duration::from_millis(20), "nobody waited for the new one");
        assert_eq!(layer.inner.take_log(), [("good", 5), ("token", 1)]);
        // A service that is out of order when the next one is due is not hammered, and the old token serves on.
        *layer.inner.seconds.lock().unwrap() = None;
        tokio::time::sleep(Duration::from_secs(220)).await;
        for _ in 0..20 {
            assert!(all_good(&ask(&layer, 5).await));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let log: BTreeMap<_, _> = layer.inner.take_log().into_iter().collect();
        assert!(log["token"] <= 2, "{log:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn must_not_use_a_token_beyond_its_life_nor_waste_a_short_one() {
        for (seconds, used_for, ended_after) in [(60, 49, 51), (8, 5, 7), (300, 289, 291)] {
            let layer = guarded(BEARER);
            *layer.inner.seconds.lock().unwrap() = Some(seconds);
            assert!(all_good(&ask(&layer, 50).await));
            assert_eq!(layer.inner.take_log(), [("401", 1), ("good", 50), ("token", 1)], "{seconds}");
            // What comes now renews it in the background or not, and in either case waits for nothing.
            tokio::time::sleep(Duration::from_secs(used_for)).await;
            let begun = now();
            assert!(all_good(&ask(&layer, 1).await));
            assert_eq!(now() - begun, Duration::from_millis(20), "{seconds}");
            let layer = guarded(BEARER);
            *layer.inner.seconds.lock().unwrap() = Some(seconds);
            assert!(all_good(&ask(&layer, 1).await));
            layer.inner.take_log();
            tokio::time::sleep(Duration::from_secs(ended_after)).await;
            *layer.inner.revoked.lock().unwrap() = 1;
            assert!(all_good(&ask(&layer, 50).await));
            assert_eq!(layer.inner.take_log(), [("good", 50), ("token", 1)], "{seconds}");
        }
        // One that ends at once is still good for everybody who waited for it.
        let layer = guarded(BEARER);
        *layer.inner.seconds.lock().unwrap() = Some(0);
        assert!(all_good(&ask(&layer, 50).await));
        assert_eq!(layer.inner.take_log(), [("401", 1), ("good", 50), ("token", 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_revoked_is_replaced_once_for_all() {
        let layer = guarded(BEARER);
        assert!(all_good(&ask(&layer, 1).await));
        layer.inner.take_log();
        *layer.inner.revoked.lock().unwrap() = 1;
        assert!(all_good(&ask(&layer, 20).await));
        assert_eq!(layer.inner.take_log(), [("401", 20), ("good", 20), ("token", 1)]);
        // Its twin: a registry that takes no token at all is not asked without end.
        *layer.inner.revoked.lock().unwrap() = usize::MAX;
        let answers = ask(&layer, 1).await;
        assert!(matches!(answers[0], Err(Failure::Unauthorized(_))), "{answers:?}");
        assert_eq!(layer.inner.take_log(), [("401", 2), ("token", 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn must_not_end_a_token_request_for_all_when_the_first_asker_leaves() {
        let layer = guarded(BEARER);
        let asked = request(Method::GET, "registry.example.com/app");
        let first = tokio::time::timeout(Duration::from_millis(30), layer.send(&asked));
        let second = async {
            tokio::time::sleep(Duration::from_millis(25)).await;
            layer.send(&asked).await
        };
        let (first, second) = tokio::join!(first, second);
        assert!(first.is_err() && second.is_ok());
        assert_eq!(layer.inner.take_log(), [("401", 1), ("good", 1), ("token", 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn must_not_use_a_token_for_another_repository_or_another_access() {
        let layer = guarded(BEARER);
        for (count, repository, access) in [
            (1, "registry.example.com/app", Access::Pull),
            (1, "registry.example.com/app", Access::Push),
            (1, "registry.example.com/other", Access::Pull),
            (0, "registry.example.com/app", Access::Pull),
        ] {
            layer.inner.take_log();
            let asked = Request { access, ..request(Method::GET, repository) };
            assert!(layer.send(&asked).await.is_ok());
            let log: BTreeMap<_, _> = layer.inner.take_log().into_iter().collect();
            assert_eq!(log.get("token").copied().unwrap_or_default(), count, "{repository} {access:?}");
        }
        // A mount reads another repository, too: its token is for both, and for nothing but that pair.
        layer.inner.take_log();
        for (count, source) in
            [(1, "registry.example.com/source"), (0, "registry.example.com/source"), (1, "registry.example.com/third")]
        {
            let mount = Request { access: Access::Push, ..request(Method::POST, "registry.example.com/app") };
            let mount = Request { beside: Some(source.parse().unwrap()), ..mount };
            assert!(layer.send(&mount).await.is_ok());
            let log: BTreeMap<_, _> = layer.inner.take_log().into_iter().collect();
            assert_eq!(log.get("token").copied().unwrap_or_default(), count, "{source}");
        }
    }

    /// A registry that hides everything from those it does not know, and whose root takes a second to say nothing.
    #[derive(Default)]
    struct Hides {
        log: Mutex<BTreeMap<&'static str, usize>>,
    }

    impl Transport for Hides {
        fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>> {
            let is_root = request.url.path() == "/v2/";
            let (kind, status) = match (is_root, request.headers.contains_key(AUTHORIZATION)) {
                (true, _) => ("root", 200),
                (false, true) => ("known", 200),
                (false, false) => ("unknown", 404),
            };
            *self.log.lock().unwrap().entry(kind).or_default() += 1;
            async move {
                tokio::time::sleep(Duration::from_millis(if is_root { 1000 } else { 1 })).await;
                answer(status, &[])
            }
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn must_not_ask_the_root_once_for_each_waiter_nor_wait_for_one_who_left() {
        let credentials = || CredentialSource::anonymous().with_password("registry.example.com", "ann", "canary");
        let asked = request(Method::GET, "registry.example.com/app");
        let layer = Auth::new(Hides::default(), credentials());
        let answers = join_all((0..100).map(|_| layer.send(&asked))).await;
        assert!(all_good(&answers));
        let counts = || std::mem::take(&mut *layer.inner.log.lock().unwrap()).into_iter().collect::<Vec<_>>();
        assert_eq!(counts(), [("known", 100), ("root", 1), ("unknown", 100)]);
        // From then on nobody asks in vain.
        assert!(all_good(&join_all((0..100).map(|_| layer.send(&asked))).await));
        assert_eq!(counts(), [("known", 100)]);
        let layer = Auth::new(Hides::default(), credentials());
        let first = tokio::time::timeout(Duration::from_millis(500), layer.send(&asked));
        let (first, second) = tokio::join!(first, layer.send(&asked));
        assert!(first.is_err() && second.is_ok_and(|answer| answer.status == 200));
        assert_eq!(layer.inner.log.lock().unwrap().get("root"), Some(&2));
        // Its twin: nobody is asked for credentials that there are not.
        let layer = Auth::new(Hides::default(), CredentialSource::anonymous());
        assert!(layer.send(&asked).await.is_ok_and(|answer| answer.status == 404));
        assert_eq!(layer.inner.log.lock().unwrap().get("root"), None);
    }

    /// Whose traffic the requests are, where a registry asks and where it does not.
    #[tokio::test(start_paused = true)]
    async fn a_request_counts_for_whom_it_shows() {
        const BASIC: &str = r#"Basic realm="r""#;
        let with_password = || CredentialSource::anonymous().with_password("registry.example.com", "ann", "canary");
        let other = || with_password().with_password("registry.example.com/app", "bob", "canary");
        let mut accounts = Vec::new();
        for (challenge, credentials, is_somebody) in [
            ("", with_password(), &[false][..]),
            (BASIC, with_password(), &[false, true]),
            (BASIC, other(), &[false, true]),
            (BEARER, with_password(), &[false, true, true]),
            (BEARER, CredentialSource::anonymous(), &[false, false, false]),
        ] {
            let layer = Auth::new(Guarded::asking(challenge), credentials);
            assert!(all_good(&ask(&layer, 1).await), "{challenge}");
            let seen = std::mem::take(&mut *layer.inner.accounts.lock().unwrap());
            let found: Vec<bool> = seen.iter().map(|account| *account != Account::Nobody).collect();
            assert_eq!(found, is_somebody, "{challenge}");
            // With what was kept it is the same.
            assert!(all_good(&ask(&layer, 1).await), "{challenge}");
            assert_eq!(layer.inner.accounts.lock().unwrap().last(), seen.last(), "{challenge}");
            accounts.push(seen.last().copied().unwrap());
        }
        assert_ne!(accounts[1], accounts[2], "two accounts of one registry");
        assert_eq!(accounts[1], accounts[3], "one account, however it is shown");
    }

    use super::super::Access;

    #[tokio::test(start_paused = true)]
    async fn of_several_challenges_one_that_can_be_answered_is_chosen() {
        const ELSEWHERE: &str = r#"Bearer realm="https://evil.example/token""#;
        let with_password = || CredentialSource::anonymous().with_password("registry.example.com", "ann", "canary");
        for (challenge, credentials, expected) in [
            // A token is for one repository and a short time; a password, sent with every request, is for everything.
            (r#"Basic realm="r", Bearer realm="https://registry.example.com/token""#, with_password(), "token"),
            (
                r#"Basic realm="r", Bearer realm="https://registry.example.com/token""#,
                CredentialSource::anonymous(),
                "token",
            ),
            (r#"Bearer realm="https://evil.example/token", Basic realm="r""#, with_password(), "good"),
            (
                r#"Bearer realm="https://evil.example/t", Bearer realm="https://registry.example.com/token""#,
                with_password(),
                "token",
            ),
            (r#"Negotiate, Basic realm="r""#, with_password(), "good"),
        ] {
            let layer = Auth::new(Guarded::asking(challenge), credentials);
            assert!(all_good(&ask(&layer, 1).await), "{challenge}");
            let log = layer.inner.take_log();
            assert_eq!(log.last().unwrap().0, expected, "{challenge}: {log:?}");
        }
        // Its twin: where none can be answered, nobody is asked, and the reason is told.
        let layer = Auth::new(Guarded::asking(ELSEWHERE), with_password());
        let Err(Failure::Unauthorized(problem)) = &ask(&layer, 1).await[0] else { panic!("it was let in") };
        assert!(problem.contains("`evil.example`") && problem.contains("tokenHosts"), "{problem}");
        assert_eq!(layer.inner.take_log(), [("401", 1)]);
    }
}
