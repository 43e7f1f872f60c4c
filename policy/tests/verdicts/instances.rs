//! An instance of Sigstore of our own, through the verdict: what is wrong with chains of certificates, with authorities of
//! one name, and with the times at which a certificate was used.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_policy::trust::TrustSnapshot;
use hallmark_policy::verdict::Question;
use hallmark_policy::{Code, Outcome};
use serde_json::{Value, json};

use crate::attestations::{SCAN, attestation_of, scan, signed};
use crate::authority::{Authority, Certificate};
use crate::keyless::{code, document, file};
use crate::support::{Attached, Key, image, snapshot, statement, subject};

type Validity = (&'static str, &'static str);
const YEARS: Validity = ("2020-01-01T00:00:00Z", "2040-01-01T00:00:00Z");

/// The seed of the key that every leaf here holds.
const SIGNER: u8 = 9;

fn authority(name: &'static str, seed: u8, issuer: (&'static str, u8), validity: Validity) -> Certificate {
    Certificate { name, seed, issuer, issues: true, purpose: None, validity }
}

/// A certificate in two names by this issuer.
fn leaf(issuer: (&'static str, u8), validity: Validity) -> Vec<u8> {
    two_names(&Certificate { issues: false, ..authority("leaf", SIGNER, issuer, validity) })
}

/// A certificate in two names, those who may have issued it, and those who say when it was used.
struct Instance {
    leaf: Vec<u8>,
    /// Each with its chain, the one that issues first, and the time from which on it is not believed.
    issuers: Vec<(Vec<Certificate>, Option<&'static str>)>,
    timestamps: Vec<Authority>,
}

impl Instance {
    fn new() -> Self {
        let ca = authority("ca", 8, ("ca", 8), YEARS);
        Self {
            leaf: leaf(("ca", 8), YEARS),
            issuers: vec![(vec![ca], None)],
            timestamps: vec![Authority::new("tsa", 3)],
        }
    }

    /// The bundle with the certificate in place of the key, and with these timestamps.
    fn certified(&self, bundle: &[u8], seen: &[(&Authority, &str)]) -> Vec<u8> {
        let mut signed: Value = serde_json::from_slice(bundle).unwrap();
        let signature = STANDARD.decode(signed["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap()).unwrap();
        let token = |(authority, time): &(&Authority, &str)| json!({"signedTimestamp": STANDARD.encode(authority.token(&signature, time).response())});
        signed["verificationMaterial"] = json!({
            "certificate": {"rawBytes": STANDARD.encode(&self.leaf)},
            "timestampVerificationData": {"rfc3161Timestamps": seen.iter().map(token).collect::<Vec<_>>()},
        });
        signed.to_string().into_bytes()
    }

    /// The policy with this instance in place of the first.
    fn trusted(&self, text: &str) -> TrustSnapshot {
        let old: Value = serde_json::from_str(&file("rekor-v1.root.json")).unwrap();
        let mut root = old.clone();
        let entry = |list: &str, chain: Vec<Vec<u8>>, end: Option<&str>| {
            let mut entry = old[list][0].clone();
            let chain: Vec<_> = chain.iter().map(|der| json!({"rawBytes": STANDARD.encode(der)})).collect();
            entry["certChain"]["certificates"] = chain.into();
            entry["validFor"] = json!({"start": YEARS.0, "end": end.unwrap_or(YEARS.1)});
            entry
        };
        let ders = |chain: &[Certificate]| chain.iter().map(Certificate::der).collect();
        let issuers = self.issuers.iter().map(|(chain, end)| entry("certificateAuthorities", ders(chain), *end));
        root["certificateAuthorities"] = issuers.collect();
        let tokens = self.timestamps.iter().map(|one| {
            let mut entry = entry("timestampAuthorities", vec![one.signer.der(), one.root.der()], None);
            entry["uri"] = format!("https://{}.example", one.name).into();
            entry
        });
        root["timestampAuthorities"] = tokens.collect();
        let written = |root: &Value| Value::String(root.to_string()).to_string();
        assert!(text.contains(&written(&old)));
        snapshot(&[text.replace(&written(&old), &written(&root))])
    }

    /// What comes of a signature of the image by the certificate, seen so, when so much is demanded.
    fn judged(&self, seen: &[(&Authority, &str)], evidence: &str) -> (Outcome, Option<Code>) {
        let trust = self.trusted(&document(&[&named("a", evidence)], "a"));
        let bundle = self.certified(&plain(), seen);
        code(&Attached::nothing().with_bundle(&bundle).verdict_by(&trust, &Question::about(image())))
    }
}

fn named(name: &str, evidence: &str) -> String {
    let subject = format!("https://ci.example/{name}");
    format!(
        "{{name: {name}, keyless: [{{issuer: https://issuer.example, subject: {subject}, trustRoot: v1}}], evidence: {{{evidence}, certificateLogs: 0}}}}"
    )
}

/// A plain signature of the image.
fn plain() -> Vec<u8> {
    let statement = statement(&format!(r#"[{{"digest":{{"sha256":"{}"}}}}]"#, subject().encoded()));
    Key::new(SIGNER).bundle("application/vnd.in-toto+json", statement.as_bytes())
}

const ALLOWED: (Outcome, Option<Code>) = (Outcome::Allow, None);
const UNTRUSTED: (Outcome, Option<Code>) = (Outcome::Deny, Some(Code::CertificateUntrusted));
const ONE: &str = "logs: 0, timestamps: 1";

/// D07: every certificate above the leaf counts only while it is valid itself, whenever the leaf says that it is.
#[test]
fn must_not_allow_by_a_certificate_whose_issuer_was_not_valid_when_it_was_used() {
    let used = "2026-11-20T12:00:00Z";
    let judged = |middle: Validity, top: Validity| {
        let chain = vec![authority("middle", 20, ("ca", 8), middle), authority("ca", 8, ("ca", 8), top)];
        let instance = Instance { leaf: leaf(("middle", 20), YEARS), issuers: vec![(chain, None)], ..Instance::new() };
        instance.judged(&[(&instance.timestamps[0], used)], ONE)
    };
    for (validity, expected) in [
        (YEARS, ALLOWED),
        (("2026-11-20T12:00:00Z", YEARS.1), ALLOWED),
        ((YEARS.0, "2026-11-20T12:00:00Z"), ALLOWED),
        ((YEARS.0, "2026-11-20T11:59:59Z"), UNTRUSTED),
        (("2026-11-20T12:00:01Z", YEARS.1), UNTRUSTED),
        // Long over, and not yet begun.
        ((YEARS.0, "2021-01-01T00:00:00Z"), UNTRUSTED),
        (("2030-01-01T00:00:00Z", YEARS.1), UNTRUSTED),
    ] {
        assert_eq!(judged(validity, YEARS), expected, "the one in the middle: {validity:?}");
        assert_eq!(judged(YEARS, validity), expected, "the one at the top: {validity:?}");
    }
}

/// D10: whose key issued it decides, and not whose name it says.
#[test]
fn must_not_take_one_certificate_authority_for_another_of_its_name() {
    let (first, second) = (authority("ca", 8, ("ca", 8), YEARS), authority("ca", 30, ("ca", 30), YEARS));
    let judged = |issuer: u8, issuers: [(&Certificate, Option<&'static str>); 2]| {
        let issuers = issuers.map(|(one, end)| (vec![one.clone()], end)).to_vec();
        let instance = Instance { leaf: leaf(("ca", issuer), YEARS), issuers, ..Instance::new() };
        instance.judged(&[(&instance.timestamps[0], "2026-11-20T12:00:00Z")], ONE)
    };
    let ended = Some("2026-11-01T00:00:00Z");
    for issuer in [8, 30] {
        assert_eq!(judged(issuer, [(&first, None), (&second, None)]), ALLOWED, "{issuer}");
        assert_eq!(judged(issuer, [(&second, None), (&first, None)]), ALLOWED, "{issuer}");
        // The window of one is not lent to the other.
        let of = |seed: u8| if seed == issuer { ended } else { None };
        assert_eq!(judged(issuer, [(&first, of(8)), (&second, of(30))]), UNTRUSTED, "{issuer}");
        assert_eq!(judged(issuer, [(&second, of(30)), (&first, of(8))]), UNTRUSTED, "{issuer}");
    }
    // A third of that name, whom nobody trusts.
    assert_eq!(judged(31, [(&first, None), (&second, None)]), UNTRUSTED);
    // One and the same, once believed no more and once still: whichever says so.
    assert_eq!(judged(8, [(&first, ended), (&first, None)]), ALLOWED);
}

/// E09: a certificate of ten minutes. Every time that somebody who is trusted vouches for must be among them.
#[test]
fn must_not_allow_by_a_certificate_that_one_of_several_timestamps_puts_outside_its_validity() {
    let (one, other, stranger) = (Authority::new("one", 3), Authority::new("other", 5), Authority::new("stranger", 7));
    let short = ("2026-11-20T12:00:00Z", "2026-11-20T12:10:00Z");
    let instance =
        Instance { leaf: leaf(("ca", 8), short), timestamps: vec![one.clone(), other.clone()], ..Instance::new() };
    let (used, before, after) = ("2026-11-20T12:05:00Z", "2026-11-01T00:00:00Z", "2026-11-22T00:00:00Z");
    let two = "logs: 0, timestamps: 2";
    for (seen, demands, expected) in [
        (&[(&one, used)][..], ONE, ALLOWED),
        (&[(&one, used), (&other, used)], two, ALLOWED),
        (&[(&one, used), (&other, "2026-11-20T12:10:00Z")], two, ALLOWED),
        (&[(&one, used), (&other, before)], ONE, UNTRUSTED),
        (&[(&other, before), (&one, used)], ONE, UNTRUSTED),
        (&[(&one, used), (&other, after)], ONE, UNTRUSTED),
        (&[(&one, used), (&other, before)], two, UNTRUSTED),
        (&[(&one, used), (&one, before)], ONE, UNTRUSTED),
        (&[(&one, before)], ONE, UNTRUSTED),
        // Whoever is not trusted here says nothing, and harms nothing.
        (&[(&one, used), (&stranger, before)], ONE, ALLOWED),
        (&[(&one, used), (&stranger, used)], two, (Outcome::Deny, Some(Code::TimestampUntrusted))),
        (&[(&one, used), (&one, used)], two, (Outcome::Deny, Some(Code::TimestampUntrusted))),
        (&[], ONE, (Outcome::Deny, Some(Code::TimestampMissing))),
    ] {
        let shown: Vec<_> = seen.iter().map(|(authority, time)| (authority.name, time)).collect();
        assert_eq!(instance.judged(seen, demands), expected, "{shown:?} {demands}");
    }
}

/// Two names in one certificate, each asked for: the first has too few vouchers, as when somebody took them away.
#[test]
fn one_signature_with_two_names_speaks_for_one_authority_however_it_is_stripped() {
    let instance = Instance::new();
    let signed = instance.certified(&plain(), &[(&instance.timestamps[0], "2026-11-20T00:00:00Z")]);
    let verdict = |require: &str| {
        let text = document(&[&named("a", "logs: 1"), &named("b", "logs: 0, timestamps: 1")], require);
        let trust = instance.trusted(&text);
        code(&Attached::nothing().with_bundle(&signed).verdict_by(&trust, &Question::about(image())))
    };
    assert_eq!(verdict("b"), (Outcome::Allow, None));
    assert_eq!(verdict("{any: [a, b]}"), (Outcome::Deny, Some(Code::LogEntryMissing)));
}

#[test]
fn must_not_let_an_older_scan_by_an_identity_speak_when_the_newer_one_was_stripped() {
    let instance = Instance::new();
    let (older, newer, seen) = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z", Some("2026-11-22T00:00:00Z"));
    let scanned = |finished: &str, findings: &str, seen: Option<&str>| {
        let seen: Vec<_> = seen.map(|time| (&instance.timestamps[0], time)).into_iter().collect();
        instance.certified(&attestation_of(SIGNER, subject(), SCAN, &scan(finished, findings)), &seen)
    };
    let verdict = |bundles: &[Vec<u8>]| {
        let pem = Key::new(1).public().to_pem().replace('\n', "\\n");
        let key = format!("{{name: k1, keys: [{{publicKey: {{pem: \"{pem}\"}}}}]}}");
        let demand = "k1, attestations: [{name: scanned, types: [vuln], from: a, vulnerabilities: {critical: 0}}]";
        let trust = instance.trusted(&document(&[&key, &named("a", "logs: 0, timestamps: 1")], demand));
        let attached = bundles.iter().fold(signed(), |attached, bundle| attached.with_bundle(bundle));
        code(&attached.verdict_by(&trust, &Question::about(image())))
    };
    let good = || scanned(older, "", seen);
    assert_eq!(verdict(&[good()]), (Outcome::Allow, None));
    assert_eq!(verdict(&[good(), scanned(newer, "C", seen)]), (Outcome::Deny, Some(Code::VulnerabilitiesFound)));
    assert_eq!(verdict(&[good(), scanned(newer, "C", None)]), (Outcome::Deny, Some(Code::TimestampMissing)));
    // An older one is not the newest, whatever it lacks.
    let newest = || scanned(newer, "", seen);
    assert_eq!(verdict(&[newest(), scanned(older, "C", None)]), (Outcome::Allow, None));
    assert_eq!(verdict(&[newest(), scanned(newer, "", None)]), (Outcome::Allow, None));
}

/// D05: a certificate that is not for signing code, or whose holder issues certificates, though an authority that is trusted
/// issued it.
#[test]
fn must_not_allow_by_a_certificate_that_is_not_for_signing_code() {
    let judged = |change: &dyn Fn(&mut Vec<Extension>)| {
        let certificate = Certificate { issues: false, ..authority("leaf", SIGNER, ("ca", 8), YEARS) };
        let mut extensions = code_signing();
        change(&mut extensions);
        let instance = Instance { leaf: with_extensions(&certificate, &extensions), ..Instance::new() };
        instance.judged(&[(&instance.timestamps[0], "2026-11-20T12:00:00Z")], ONE)
    };
    let without = |id: &'static str| move |all: &mut Vec<Extension>| all.retain(|(known, _)| *known != id);
    let instead = |id: &'static str, value: &[u8]| {
        let value = value.to_vec();
        move |all: &mut Vec<Extension>| {
            all.iter_mut().filter(|(known, _)| *known == id).for_each(|it| it.1 = value.clone())
        }
    };
    assert_eq!(judged(&|_| ()), ALLOWED);
    assert_eq!(judged(&without(PURPOSE)), UNTRUSTED, "no extended key usage");
    assert_eq!(judged(&without(USAGE)), UNTRUSTED, "no key usage");
    assert_eq!(judged(&without("2.5.29.17")), UNTRUSTED, "nobody's name");
    let any = [0x30, 6, 6, 4, 0x55, 0x1d, 37, 0];
    assert_eq!(judged(&instead(PURPOSE, &any)), UNTRUSTED, "for any purpose");
    let tls = [0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1];
    assert_eq!(judged(&instead(PURPOSE, &tls)), UNTRUSTED, "for TLS servers");
    assert_eq!(judged(&instead(USAGE, &[3, 2, 3, 0x08])), UNTRUSTED, "to agree on keys");
    let issues = |all: &mut Vec<Extension>| all.push(("2.5.29.19", vec![0x30, 3, 1, 1, 0xff]));
    assert_eq!(judged(&issues), UNTRUSTED, "its holder issues certificates");
    let issues_not = |all: &mut Vec<Extension>| all.push(("2.5.29.19", vec![0x30, 0]));
    assert_eq!(judged(&issues_not), ALLOWED, "it says that its holder does not");
}

/// An extension: its identifier and its value.
type Extension = (&'static str, Vec<u8>);

const USAGE: &str = "2.5.29.15";
const PURPOSE: &str = "2.5.29.37";

/// What a certificate for signing code says, in the names of `https://ci.example/a` and `https://ci.example/b`.
fn code_signing() -> Vec<Extension> {
    use crate::authority::tlv;
    let name = |name: &str| tlv(0x86, &[format!("https://ci.example/{name}").into_bytes()]);
    let purpose = tlv(0x06, &[vec![0x2b, 6, 1, 5, 5, 7, 3, 3]]);
    vec![
        (USAGE, vec![3, 2, 7, 0x80]),
        (PURPOSE, tlv(0x30, &[purpose])),
        ("2.5.29.17", tlv(0x30, &[name("a"), name("b")])),
        ("1.3.6.1.4.1.57264.1.8", tlv(0x0c, &[b"https://issuer.example".to_vec()])),
    ]
}

fn two_names(certificate: &Certificate) -> Vec<u8> {
    with_extensions(certificate, &code_signing())
}

/// The certificate with these extensions alone.
fn with_extensions(certificate: &Certificate, extensions: &[Extension]) -> Vec<u8> {
    use der::asn1::{BitString, OctetString};
    use der::{Decode as _, Encode as _};

    let mut content = x509_cert::Certificate::from_der(&certificate.der()).unwrap();
    let extension = |(id, value): &Extension| x509_cert::ext::Extension {
        extn_id: id.parse().unwrap(),
        critical: false,
        extn_value: OctetString::new(value.as_slice()).unwrap(),
    };
    content.tbs_certificate.extensions = Some(extensions.iter().map(extension).collect());
    let signature = Key::new(certificate.issuer.1).sign(&content.tbs_certificate.to_der().unwrap());
    content.signature = BitString::from_bytes(&signature).unwrap();
    content.to_der().unwrap()
}
