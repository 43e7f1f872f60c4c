//! Random histories of keys and times, judged by the product and by a small model of what `docs/reference/policy.md`
//! promises. They agree on every verdict: the outcome, the reasons, what was rejected and why, and the proof.
//!
//! Dates are few, so that every history stands on the boundaries of its windows; every history is judged at every date.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::image::Digest;
use hallmark_policy::signature::{Format, Statement};
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::{Question, Verdict, evaluate};
use hallmark_policy::verify::KeyId;
use hallmark_policy::{Code, Outcome};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::json;

use crate::authority::Authority;
use crate::support::{Attached, Key, image, snapshot, subject};

/// A date: a day of the month in which everything happens.
type Day = u8;
const POLICIES: usize = 8;
const DAYS: std::ops::RangeInclusive<Day> = 1..=9;

fn date(day: Day) -> String {
    format!("2026-11-{day:02}T00:00:00Z")
}

/// Who owns which keys. Key 6 is nobody's.
const OWNERS: [(&str, &[u8]); 3] = [("a", &[1, 2]), ("b", &[3]), ("c", &[4, 5])];
const KEYS: std::ops::RangeInclusive<u8> = 1..=6;
const TIME_AUTHORITIES: [(&str, u8); 2] = [("tsa", 1), ("other", 2)];
/// The place after the last time authority: somebody who is not in the policy.
const STRANGER: (&str, u8) = ("stranger", 3);

#[derive(Debug, Clone, Copy, Default)]
struct Life {
    sign_from: Option<Day>,
    sign_until: Option<Day>,
    accept_until: Option<Day>,
    compromised: Option<(Day, bool)>,
}

impl Life {
    /// What the loader takes: dates that do not contradict one another.
    fn is_possible(&self) -> bool {
        let ordered = |early: Option<Day>, late: Option<Day>, fits: fn(Day, Day) -> bool| {
            early.zip(late).is_none_or(|(early, late)| fits(early, late))
        };
        ordered(self.sign_from, self.sign_until, |early, late| early < late)
            && ordered(self.sign_from, self.accept_until, |early, late| early < late)
            && ordered(self.sign_until, self.accept_until, |early, late| early <= late)
    }
}

#[derive(Debug, Clone, Copy)]
struct Stamp {
    authority: usize,
    day: Day,
    of_another_signature: bool,
}

#[derive(Debug, Clone)]
struct Signature {
    key: u8,
    format: Format,
    of_another_image: bool,
    expires: Option<Day>,
    /// Only bundles carry them.
    stamps: Vec<Stamp>,
}

/// What a rule asks for: authorities by their place in [`OWNERS`].
#[derive(Debug, Clone)]
enum Need {
    One(usize),
    Of(usize, Vec<Need>),
}

/// What a policy says.
#[derive(Debug, Clone)]
struct Rules {
    lives: [Life; 5],
    /// How many timestamps each owner's signatures need.
    needed: [usize; 3],
    /// When each time authority is believed.
    believed: [(Option<Day>, Option<Day>); 2],
    need: Need,
    exception: Option<(Vec<Code>, Day)>,
}

/// What was signed, and the policies by which it is judged.
#[derive(Debug, Clone)]
struct History {
    signatures: Vec<Signature>,
    rules: Vec<Rules>,
}

// --- The model: what the documentation says, sentence by sentence. -----------------------------------------------

/// A signature that counts: its owner, its key, and the date by which it existed, where one is proven.
type Counted = (usize, u8, Option<Day>);

struct Expected {
    outcome: Outcome,
    rejected: BTreeSet<(Code, Option<usize>)>,
    reasons: BTreeSet<Code>,
    counted: BTreeSet<Counted>,
}

fn owner_of(key: u8) -> Option<usize> {
    OWNERS.iter().position(|(_, keys)| keys.contains(&key))
}

impl Need {
    fn is_met_by(&self, signed: &BTreeSet<usize>) -> bool {
        match self {
            Self::One(owner) => signed.contains(owner),
            Self::Of(count, needs) => needs.iter().filter(|need| need.is_met_by(signed)).count() >= *count,
        }
    }

    fn asks_for(&self, owner: usize) -> bool {
        match self {
            Self::One(one) => *one == owner,
            Self::Of(_, needs) => needs.iter().any(|need| need.asks_for(owner)),
        }
    }
}

impl Rules {
    /// By when enough distinct authorities have seen a signature, and whether enough have.
    fn seen(&self, signature: &Signature, needed: usize, now: Day) -> (Option<Day>, Option<Code>) {
        let counts = |stamp: &&Stamp| {
            self.believed.get(stamp.authority).is_some_and(|(from, until)| {
                from.is_none_or(|from| stamp.day >= from) && until.is_none_or(|until| stamp.day < until)
            }) && !stamp.of_another_signature
                && stamp.day <= now
        };
        let good: Vec<&Stamp> = signature.stamps.iter().filter(counts).collect();
        let first_word = |authority| good.iter().filter(|s| s.authority == authority).map(|s| s.day).min();
        let mut words: Vec<Day> = (0..self.believed.len()).filter_map(first_word).collect();
        words.sort_unstable();
        if words.len() < needed {
            let worthless = good.len() < signature.stamps.len();
            return (None, Some(if worthless { Code::TimestampUntrusted } else { Code::TimestampMissing }));
        }
        (words.get(needed.max(1) - 1).copied(), None)
    }

    /// Everything that is wrong with a signature of a known key.
    fn faults(&self, signature: &Signature, life: &Life, needed: usize, now: Day) -> (Option<Day>, Vec<Code>) {
        let (seen, untimely) = self.seen(signature, needed, now);
        let made = seen.unwrap_or(now);
        let is_lost = life.compromised.is_some_and(|(since, older_counts)| {
            let is_proven_older = seen.is_some_and(|seen| seen < since);
            !(older_counts && is_proven_older)
        });
        let key = if is_lost {
            Some(Code::KeyCompromised)
        } else if life.accept_until.is_some_and(|until| until <= now) {
            Some(Code::KeyExpired)
        } else if life.sign_from.is_some_and(|from| made < from) {
            Some(Code::KeyNotYetValid)
        } else if life.sign_until.is_some_and(|until| until <= made) {
            Some(Code::KeyExpired)
        } else {
            None
        };
        let other = signature.of_another_image.then_some(Code::DigestMismatch);
        let ended = signature.expires.is_some_and(|end| end <= now).then_some(Code::SignatureExpired);
        let faults = [key, other, ended, untimely].into_iter().flatten().collect();
        (seen, faults)
    }

    fn expected(&self, signatures: &[Signature], now: Day) -> Expected {
        let (mut rejected, mut counted) = (BTreeSet::new(), BTreeSet::new());
        for signature in signatures {
            let owner = owner_of(signature.key).filter(|owner| self.need.asks_for(*owner));
            let Some(owner) = owner else {
                rejected.insert((Code::UntrustedKey, None));
                continue;
            };
            let life = &self.lives[usize::from(signature.key) - 1];
            let (seen, faults) = self.faults(signature, life, self.needed[owner], now);
            let contradicts =
                |code: &&Code| matches!(code, Code::KeyCompromised | Code::DigestMismatch | Code::TimestampUntrusted);
            if faults.is_empty() {
                counted.insert((owner, signature.key, seen));
            } else if let Some(alone) = faults.iter().find(contradicts) {
                rejected.insert((*alone, Some(owner)));
            } else {
                rejected.extend(faults.iter().map(|fault| (*fault, Some(owner))));
            }
        }
        let signed: BTreeSet<usize> = counted.iter().map(|(owner, ..)| *owner).collect();
        if self.need.is_met_by(&signed) {
            return Expected { outcome: Outcome::Allow, rejected, reasons: BTreeSet::new(), counted };
        }
        let open = rejected.iter().filter(|(_, owner)| owner.is_none_or(|owner| !signed.contains(&owner)));
        let mut reasons: BTreeSet<Code> = open.map(|(code, _)| *code).collect();
        if signatures.is_empty() {
            reasons.insert(Code::Unsigned);
        }
        if !signed.is_empty() {
            reasons.insert(Code::ThresholdNotMet);
        }
        let waives = |(waived, end): &(Vec<Code>, Day)| now < *end && reasons.iter().all(|code| waived.contains(code));
        let outcome = if self.exception.as_ref().is_some_and(waives) { Outcome::Allow } else { Outcome::Deny };
        Expected { outcome, rejected, reasons, counted: BTreeSet::new() }
    }
}

// --- The same history as documents and bytes. --------------------------------------------------------------------

/// The chains of the time authorities, made once.
static CHAINS: LazyLock<[String; 2]> =
    LazyLock::new(|| TIME_AUTHORITIES.map(|(name, seed)| quoted(&Authority::new(name, seed).chain())));

/// The keys' public halves, made once: as they stand in a policy, and their names.
static PUBLIC: LazyLock<Vec<(String, KeyId)>> = LazyLock::new(|| {
    let public = |seed| Key::new(seed).public();
    KEYS.map(|seed| (quoted(&public(seed).to_pem()), public(seed).id())).collect()
});

fn quoted(pem: &str) -> String {
    pem.replace('\n', "\\n")
}

/// `, name: 2026-...`, when there is a date.
fn field(name: &str, day: Option<Day>) -> Option<String> {
    day.map(|day| format!("{name}: {}", date(day)))
}

impl Life {
    fn written(&self) -> String {
        let fields = |list: [Option<String>; 2]| list.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let sign = fields([field("from", self.sign_from), field("until", self.sign_until)]);
        let mut text = String::new();
        if !sign.is_empty() {
            text.push_str(&format!(", sign: {{{sign}}}"));
        }
        if let Some(accept) = field("acceptUntil", self.accept_until) {
            text.push_str(&format!(", {accept}"));
        }
        if let Some((since, older_counts)) = self.compromised {
            let word = if older_counts { "with-trusted-time" } else { "never" };
            text.push_str(&format!(", compromised: {{since: {}, trustEarlier: {word}}}", date(since)));
        }
        text
    }
}

impl Need {
    fn written(&self) -> String {
        match self {
            Self::One(owner) => OWNERS[*owner].0.to_owned(),
            Self::Of(count, needs) => {
                let list: Vec<String> = needs.iter().map(Self::written).collect();
                let list = list.join(", ");
                match *count {
                    1 => format!("{{any: [{list}]}}"),
                    all if all == needs.len() => format!("{{all: [{list}]}}"),
                    count => format!("{{threshold: {{count: {count}, of: [{list}]}}}}"),
                }
            }
        }
    }
}

impl Rules {
    fn trust(&self) -> TrustSnapshot {
        let mut text =
            "apiVersion: hallmark.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {name: history}\nspec:\n".to_owned();
        text.push_str("  authorities:\n");
        for (place, (name, keys)) in OWNERS.iter().enumerate() {
            text.push_str(&format!("    - name: {name}\n      evidence: {{timestamps: {}}}\n", self.needed[place]));
            text.push_str("      keys:\n");
            for key in *keys {
                let pem = &PUBLIC[usize::from(*key) - 1].0;
                let life = self.lives[usize::from(*key) - 1].written();
                text.push_str(&format!("        - {{publicKey: {{pem: \"{pem}\"}}{life}}}\n"));
            }
        }
        text.push_str("  timestampAuthorities:\n");
        for ((name, seed), (from, until)) in TIME_AUTHORITIES.iter().zip(&self.believed) {
            let chain = &CHAINS[usize::from(*seed) - 1];
            let window: Vec<_> = [field("from", *from), field("until", *until)].into_iter().flatten().collect();
            let window =
                if window.is_empty() { String::new() } else { format!(", validFor: {{{}}}", window.join(", ")) };
            text.push_str(&format!("    - {{name: {name}, certificateChain: {{pem: \"{chain}\"}}{window}}}\n"));
        }
        let need = self.need.written();
        text.push_str(&format!("  rules: [{{name: r, images: [\"r.example/**\"], require: {need}}}]\n"));
        if let Some((waives, end)) = &self.exception {
            let waives: Vec<_> = waives.iter().map(ToString::to_string).collect();
            text.push_str(&format!(
                "  exceptions: [{{image: \"r.example/team/app@{}\", waives: [{}], owner: o, reason: r, expires: {}}}]\n",
                subject(),
                waives.join(", "),
                date(*end)
            ));
        }
        snapshot(&[text])
    }
}

impl History {
    fn attached(&self) -> Attached {
        let (mut attached, mut layers) = (Attached::nothing(), Vec::new());
        for signature in &self.signatures {
            let digest = if signature.of_another_image { Digest::of(b"another image") } else { subject() };
            let statement = Statement::about(&image(), &image().pin(digest), BTreeMap::new());
            let statement = statement.expiring(signature.expires.map(|day| date(day).parse().unwrap()));
            let key = Key::new(signature.key);
            let encoded = key.signs_statement(signature.format, &statement);
            match signature.format {
                Format::SimpleSigning => layers.push(key.layer(encoded.blob())),
                _ => attached = attached.with_bundle(&stamped(encoded.blob(), &signature.stamps)),
            }
        }
        if layers.is_empty() { attached } else { attached.with_layers(layers) }
    }
}

fn stamped(bundle: &[u8], stamps: &[Stamp]) -> Vec<u8> {
    let mut bundle: serde_json::Value = serde_json::from_slice(bundle).unwrap();
    let signature = STANDARD.decode(bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap()).unwrap();
    let response = |stamp: &Stamp| {
        let (name, seed) = TIME_AUTHORITIES.get(stamp.authority).copied().unwrap_or(STRANGER);
        let signed: &[u8] = if stamp.of_another_signature { b"another signature" } else { &signature };
        let response = Authority::new(name, seed).token(signed, &date(stamp.day)).response();
        json!({"signedTimestamp": STANDARD.encode(response)})
    };
    let list: Vec<_> = stamps.iter().map(response).collect();
    bundle["verificationMaterial"]["timestampVerificationData"] = json!({"rfc3161Timestamps": list});
    serde_json::to_vec(&bundle).unwrap()
}

// --- Histories at random. ----------------------------------------------------------------------------------------

fn sometimes_a_day() -> impl Strategy<Value = Option<Day>> {
    prop_oneof![3 => Just(None), 1 => DAYS.prop_map(Some)]
}

fn life() -> impl Strategy<Value = Life> {
    let compromise = prop_oneof![3 => Just(None), 1 => (DAYS, prop::bool::weighted(0.8)).prop_map(Some)];
    (sometimes_a_day(), sometimes_a_day(), sometimes_a_day(), compromise)
        .prop_map(|(sign_from, sign_until, accept_until, compromised)| Life {
            sign_from,
            sign_until,
            accept_until,
            compromised,
        })
        .prop_filter("dates that contradict one another are refused at load", Life::is_possible)
}

fn believed() -> impl Strategy<Value = (Option<Day>, Option<Day>)> {
    (sometimes_a_day(), sometimes_a_day()).prop_filter("a window has an inside", |(from, until)| {
        from.zip(*until).is_none_or(|(from, until)| from < until)
    })
}

fn stamps() -> impl Strategy<Value = Vec<Stamp>> {
    let authority = prop_oneof![9 => 0..2_usize, 1 => Just(2)];
    let stamp = (authority, DAYS, prop::bool::weighted(0.05))
        .prop_map(|(authority, day, of_another_signature)| Stamp { authority, day, of_another_signature });
    prop::collection::vec(stamp, 0..4)
}

fn signature() -> impl Strategy<Value = Signature> {
    let format = prop_oneof![4 => Just(Format::SigstoreBundle), 1 => Just(Format::SimpleSigning)];
    let expires = prop_oneof![4 => Just(None), 1 => DAYS.prop_map(Some)];
    (KEYS, format, prop::bool::weighted(0.05), expires, stamps()).prop_map(
        |(key, format, of_another_image, expires, stamps)| Signature {
            key,
            format,
            of_another_image,
            expires,
            stamps: if format == Format::SimpleSigning { Vec::new() } else { stamps },
        },
    )
}

fn need() -> impl Strategy<Value = Need> {
    let owners = Just([0_usize, 1, 2]).prop_shuffle();
    (owners, 0..7_usize).prop_map(|([x, y, z], shape)| {
        let one = Need::One;
        match shape {
            0 => one(x),
            1 => Need::Of(1, vec![one(x), one(y)]),
            2 => Need::Of(2, vec![one(x), one(y)]),
            3 => Need::Of(2, vec![one(x), one(y), one(z)]),
            4 => Need::Of(3, vec![one(x), one(y), one(z)]),
            5 => Need::Of(2, vec![one(x), Need::Of(1, vec![one(y), one(z)])]),
            _ => Need::Of(1, vec![one(x), Need::Of(2, vec![one(y), one(z)])]),
        }
    })
}

fn exception() -> impl Strategy<Value = Option<(Vec<Code>, Day)>> {
    let waivable = vec![
        Code::KeyExpired,
        Code::KeyNotYetValid,
        Code::SignatureExpired,
        Code::ThresholdNotMet,
        Code::TimestampMissing,
        Code::Unsigned,
        Code::UntrustedKey,
    ];
    let waives = prop::sample::subsequence(waivable, 1..=7);
    prop_oneof![2 => Just(None), 1 => (waives, DAYS).prop_map(Some)]
}

fn rules() -> impl Strategy<Value = Rules> {
    let needed = prop_oneof![3 => Just(0_usize), 2 => Just(1), 1 => Just(2)];
    let lives = prop::array::uniform5(life());
    (lives, prop::array::uniform3(needed), prop::array::uniform2(believed()), need(), exception())
        .prop_map(|(lives, needed, believed, need, exception)| Rules { lives, needed, believed, need, exception })
}

fn history() -> impl Strategy<Value = History> {
    (prop::collection::vec(signature(), 0..6), prop::collection::vec(rules(), POLICIES))
        .prop_map(|(signatures, rules)| History { signatures, rules })
}

// --- They agree. --------------------------------------------------------------------------------------------------

fn codes(verdict: &Verdict) -> BTreeSet<Code> {
    verdict.reasons().iter().map(|reason| reason.code).collect()
}

fn rejected(verdict: &Verdict) -> BTreeSet<(Code, Option<usize>)> {
    let owner = |name: &str| OWNERS.iter().position(|(owner, _)| *owner == name).unwrap();
    verdict.rejected().iter().map(|it| (it.code, it.authority.as_deref().map(owner))).collect()
}

fn proof(verdict: &Verdict) -> BTreeSet<Counted> {
    let counted = verdict.proof().into_iter().map(|signature| {
        let key = KEYS.into_iter().find(|seed| PUBLIC[usize::from(*seed) - 1].1 == signature.key()).unwrap();
        let time = signature.time().map(|time| DAYS.into_iter().find(|day| date(*day) == time.time().to_string()));
        let owner = OWNERS.iter().position(|(name, _)| *name == signature.authority()).unwrap();
        (owner, key, time.map(Option::unwrap))
    });
    counted.collect()
}

/// One verdict and what the model says; what was seen is counted.
fn agree(history: &History, rules: &Rules, now: Day, verdict: &Verdict, seen: &mut Seen) -> Result<(), TestCaseError> {
    let expected = rules.expected(&history.signatures, now);
    prop_assert_eq!(verdict.outcome(), expected.outcome, "day {}: {:?} {:#?}", now, rules, verdict);
    prop_assert_eq!(rejected(verdict), expected.rejected.clone(), "day {}: {:?}", now, rules);
    seen.count(&format!("{:?}", expected.outcome), 1);
    for (code, _) in &expected.rejected {
        seen.count(code.as_str(), 1);
    }
    match expected.outcome {
        Outcome::Allow if expected.counted.is_empty() => {
            prop_assert!(verdict.proof().is_empty(), "an exception is not a signature");
            seen.count("exception", 1);
        }
        Outcome::Allow => {
            let proof = proof(verdict);
            prop_assert!(proof.is_subset(&expected.counted), "{:?} {:?}", proof, expected.counted);
            let owners = |of: &BTreeSet<Counted>| of.iter().map(|(owner, ..)| *owner).collect::<BTreeSet<_>>();
            prop_assert_eq!(owners(&proof), owners(&expected.counted));
            let lost = |key: u8| rules.lives[usize::from(key) - 1].compromised.is_some();
            seen.count("proven time", proof.iter().filter(|(_, _, time)| time.is_some()).count());
            seen.count("older than a compromise", proof.iter().filter(|(_, key, _)| lost(*key)).count());
        }
        _ => prop_assert_eq!(codes(verdict), expected.reasons, "day {}: {:?}", now, rules),
    }
    Ok(())
}

#[derive(Default)]
struct Seen(BTreeMap<String, usize>);

impl Seen {
    fn count(&mut self, what: &str, times: usize) {
        *self.0.entry(what.to_owned()).or_default() += times;
    }
}

#[test]
fn a_model_and_the_product_agree_on_every_verdict_of_random_histories() {
    let seen: RefCell<Seen> = RefCell::default();
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&history(), |history| {
        let evidence = history.attached().decoded();
        for rules in &history.rules {
            let trust = rules.trust();
            for now in 0..=10 {
                // One day before and one after all others.
                let at = if now == 0 { "2026-10-31T00:00:00Z".to_owned() } else { date(now) };
                let verdict = evaluate(&Question::about(image()), &trust, &evidence, None, at.parse().unwrap());
                agree(&history, rules, now, &verdict, &mut seen.borrow_mut())?;
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    // A model that only ever sees one kind of history would prove nothing.
    let Seen(seen) = seen.into_inner();
    for (what, least) in [
        ("Allow", 500),
        ("Deny", 500),
        ("exception", 20),
        ("proven time", 100),
        ("older than a compromise", 20),
        ("key-compromised", 100),
        ("key-expired", 100),
        ("key-not-yet-valid", 100),
        ("signature-expired", 100),
        ("digest-mismatch", 100),
        ("timestamp-missing", 100),
        ("timestamp-untrusted", 100),
        ("untrusted-key", 100),
    ] {
        let count = seen.get(what).copied().unwrap_or_default();
        assert!(count >= least, "{what}: {count} times only: {seen:?}");
    }
}
