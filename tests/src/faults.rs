//! Invariant 3: for every n, a failing, slow or lying n-th registry call never gives an allow that was not there, and
//! never makes a signed image "unsigned". And the mirror image: while signing, it never loses what was there.

use std::time::{Duration, Instant};

use hallmark_policy::image::ImageReference;
use hallmark_policy::signature::Format;
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, Verdict};
use hallmark_policy::{Code, Outcome};
use hallmark_registry::Configuration;
use tokio::task::JoinSet;

use crate::harness::hostile::{Act, Fault, When};
use crate::harness::world::{FORMATS, Key, PATIENCE, World, client, client_with, pipeline, try_to_attach};

/// Most times that one request is repeated, so that a fault may hit the request after the last of the clean run.
const RETRIES: u64 = 2;

/// What an image's signature is worth to the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SignedBy {
    Nobody,
    Other(Format),
    Trusted(Format),
}

/// One image on one registry, and how it is asked for.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    signed: SignedBy,
    is_inlined: bool,
    is_old: bool,
    by_tag: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn must_not_allow_nor_say_unsigned_because_one_registry_call_goes_wrong() {
    every_scenario(|case| Box::pin(case.one_call_goes_wrong())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn must_not_allow_nor_say_unsigned_because_one_place_keeps_going_wrong() {
    every_scenario(|case| Box::pin(case.one_place_keeps_going_wrong())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn must_not_allow_nor_say_unsigned_because_one_registry_call_stalls() {
    every_scenario(|case| Box::pin(case.one_call_stalls())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn must_not_lose_a_signature_nor_claim_one_because_one_call_of_signing_goes_wrong() {
    let mut cases = JoinSet::new();
    for format in FORMATS {
        for is_old in [false, true] {
            cases.spawn(sign_while_one_call_goes_wrong(format, is_old));
        }
    }
    while let Some(ended) = cases.join_next().await {
        ended.unwrap();
    }
}

/// A cosign has signed before. Whatever becomes of our signature, that one must stay, and what is said to be attached
/// must be there.
async fn sign_while_one_call_goes_wrong(format: Format, is_old: bool) {
    let (ours, theirs) = (Key::new(1), Key::new(2));
    let start = || {
        let world = if is_old { World::old() } else { World::new() };
        world.sign_as_cosign(&theirs, format);
        world
    };
    let clean = start();
    clean.sign(&ours, format).await;
    for n in 1..=count(&calls(&clean)) + RETRIES {
        for act in Act::every_way() {
            let world = start();
            world.registry.set_fault(Fault::nth(n, act.clone()));
            let attached = try_to_attach(&client(), &world.statement(), &ours, format).await;
            world.registry.heal();
            let context = format!("call {n} of {format}, old: {is_old}, {act:?}: {attached:?}, {:?}", world.lines());
            if attached.is_ok() {
                let verdict = world.ask(&ours.trust(), &world.pinned()).await;
                assert_eq!(verdict.outcome(), Outcome::Allow, "said to be attached: {context}");
            }
            // A registry that denies having a tag is believed; it is then written anew.
            if !matches!(act, Act::Status(404)) {
                let verdict = world.ask(&theirs.trust(), &world.pinned()).await;
                assert_eq!(verdict.outcome(), Outcome::Allow, "lost: {context}");
            }
        }
    }
}

/// A scenario with its registry, and what comes out when nothing goes wrong.
struct Case {
    scenario: Scenario,
    world: World,
    image: ImageReference,
    trust: TrustSnapshot,
    clean: Verdict,
    calls: Vec<(http::Method, String)>,
}

type Run = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// All scenarios at once: most of the time is spent waiting for pauses before retries.
async fn every_scenario(run: impl Fn(Case) -> Run) {
    let mut signed = vec![SignedBy::Nobody];
    signed.extend(FORMATS.iter().flat_map(|format| [SignedBy::Trusted(*format), SignedBy::Other(*format)]));
    let mut cases = JoinSet::new();
    for signed in signed {
        for (is_old, by_tag, is_inlined) in [
            (false, false, false),
            (false, true, false),
            (true, false, false),
            (true, true, false),
            (false, true, true),
        ] {
            cases.spawn(run(Case::of(Scenario { signed, is_inlined, is_old, by_tag }).await));
        }
    }
    while let Some(ended) = cases.join_next().await {
        ended.unwrap();
    }
}

impl Case {
    async fn of(scenario: Scenario) -> Self {
        let world = if scenario.is_old { World::old() } else { World::new() };
        let trusted = Key::new(1);
        match scenario.signed {
            SignedBy::Nobody => {}
            SignedBy::Other(format) => scenario.sign(&world, &Key::new(2), format).await,
            SignedBy::Trusted(format) => scenario.sign(&world, &trusted, format).await,
        }
        let image = if scenario.by_tag { world.tagged() } else { world.pinned() };
        world.registry.clear();
        let trust = trusted.trust();
        let clean = ask(&trust, &image, Duration::from_secs(10), PATIENCE).await;
        let expected = match scenario.signed {
            SignedBy::Nobody => (Outcome::Deny, Some(Code::Unsigned)),
            SignedBy::Other(_) => (Outcome::Deny, Some(Code::UntrustedKey)),
            SignedBy::Trusted(_) => (Outcome::Allow, None),
        };
        assert_eq!((clean.outcome(), code(&clean)), expected, "{scenario:?}: {clean:?}");
        let calls = calls(&world);
        Self { scenario, world, image, trust, clean, calls }
    }

    async fn one_call_goes_wrong(self) {
        for n in 1..=count(&self.calls) + RETRIES {
            for act in Act::every_way() {
                self.world.registry.set_fault(Fault::nth(n, act.clone()));
                let verdict = ask(&self.trust, &self.image, Duration::from_secs(10), PATIENCE).await;
                self.check(&verdict, &act, &format!("call {n}"));
            }
        }
    }

    async fn one_place_keeps_going_wrong(self) {
        for (method, path) in &self.calls {
            for act in Act::every_way() {
                let fault =
                    Fault { when: When::Always, method: Some(method.clone()), path: path.clone(), act: act.clone() };
                self.world.registry.set_fault(fault);
                let verdict = ask(&self.trust, &self.image, Duration::from_secs(10), PATIENCE).await;
                self.check(&verdict, &act, &format!("{method} {path}"));
            }
        }
    }

    async fn one_call_stalls(self) {
        for n in 1..=count(&self.calls) {
            let stall = Act::Stall;
            // Once the registry's client gives up and asks again, once the asker's time is over before that.
            for (request_timeout, within) in
                [(Duration::from_millis(300), PATIENCE), (Duration::from_secs(10), Duration::from_millis(300))]
            {
                self.world.registry.set_fault(Fault::nth(n, stall.clone()));
                let verdict = ask(&self.trust, &self.image, request_timeout, within).await;
                self.check(&verdict, &stall, &format!("call {n}"));
            }
        }
    }

    fn check(&self, verdict: &Verdict, act: &Act, at: &str) {
        let context = || format!("{:?} at {at} of {:?}: {act:?} gave {verdict:?}", self.scenario, self.calls);
        if verdict.outcome() == Outcome::Allow {
            assert_eq!(self.clean.outcome(), Outcome::Allow, "an allow that was not there: {}", context());
            assert!(!verdict.proof().is_empty(), "{}", context());
            return;
        }
        assert!(!verdict.admit(), "{}", context());
        let Some(code) = code(verdict) else { panic!("no reason: {}", context()) };
        if code == Code::Unsigned {
            // A 404 is what the registry itself asserts; nobody else can know better.
            let is_asserted = matches!(act, Act::Status(404));
            assert!(self.scenario.signed == SignedBy::Nobody || is_asserted, "a signed image: {}", context());
        } else if verdict != &self.clean {
            assert!(is_honest(code, act) || Some(code) == self::code(&self.clean), "dishonest `{code}`: {}", context());
        }
    }
}

/// Codes that say what really happened when a registry failed or lied.
fn is_honest(code: Code, act: &Act) -> bool {
    match code {
        // Only where the registry says so.
        Code::ImageNotFound => matches!(act, Act::Status(404)),
        // The bytes are not those that were asked for, or are not what they should be.
        Code::DigestMismatch | Code::LimitExceeded | Code::Malformed => true,
        _ => code.outcome() == Outcome::Undetermined,
    }
}

fn code(verdict: &Verdict) -> Option<Code> {
    verdict.reasons().first().map(|reason| reason.code)
}

fn calls(world: &World) -> Vec<(http::Method, String)> {
    world.registry.requests().into_iter().map(|logged| (logged.method, logged.path)).collect()
}

fn count(calls: &[(http::Method, String)]) -> u64 {
    u64::try_from(calls.len()).unwrap()
}

impl Scenario {
    async fn sign(&self, world: &World, key: &Key, format: Format) {
        if self.is_inlined {
            world.sign(key, format).await;
        } else {
            world.sign_as_cosign(key, format);
        }
    }
}

/// A verdict of a service that has just started, so that nothing is remembered from one run to the next.
async fn ask(trust: &TrustSnapshot, image: &ImageReference, request_timeout: Duration, within: Duration) -> Verdict {
    let client = client_with(Configuration { request_timeout, ..Configuration::default() });
    pipeline(&client).verdict(trust, &Question::about(image.clone()), Instant::now() + within).await
}
