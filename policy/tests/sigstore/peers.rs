//! Bundles that cosign 3.1.1 made with private instances (`@sigstore/mock`): one with Rekor v1, one with Rekor v2,
//! whose log says no time, so that a timestamp authority does.

use hallmark_policy::sigstore::{
    Artifact, Demands, IdentityExpectation, TrustedRoot, UnverifiedBundle, VerifiedBundle, Who, verify_bundle,
};
use hallmark_policy::verify::PublicKey;
use hallmark_policy::{Code, Timestamp};
use serde_json::{Value, json};

use super::corpus::now;
use super::recorded;

/// The image that was signed.
const IMAGE: &str = "sha256:7a65b2aef9ab2af1c0459d060e4e6bd07c1cb021f5da3bc0a619f10317079ab0";
const BOTH: Demands = Demands { timestamps: 1, ..Demands::PUBLIC_GOOD };

struct World {
    bundle: Value,
    root: Value,
}

impl World {
    fn recorded(version: u8) -> Self {
        let read = |name: String| serde_json::from_slice(&recorded::file(&format!("peers/{name}"))).unwrap();
        Self {
            bundle: read(format!("cosign-3.1.1-rekor-v{version}.sigstore.json")),
            root: read(format!("rekor-v{version}.root.json")),
        }
    }

    fn verify(&self, demands: &Demands) -> Result<VerifiedBundle, Code> {
        let bundle = UnverifiedBundle::parse(self.bundle.to_string().as_bytes()).map_err(|fault| fault.code)?;
        let root = TrustedRoot::parse(self.root.to_string().as_bytes()).unwrap();
        let expectation = IdentityExpectation {
            issuer: "https://issuer.example".to_owned(),
            subject: "https://ci.example/build".to_owned(),
        };
        let artifact = Artifact::Digest(IMAGE.parse().unwrap());
        verify_bundle(&bundle, artifact, Who::Identity(&expectation), &root, demands, now())
            .map_err(|refusal| refusal.code)
    }

    fn altered(version: u8, change: impl FnOnce(&mut Self)) -> Result<VerifiedBundle, Code> {
        let mut world = Self::recorded(version);
        change(&mut world);
        world.verify(&BOTH)
    }

    fn windows(&mut self, field: &str, start: &str, end: &str) {
        for element in self.root[field].as_array_mut().unwrap() {
            let window = json!({"start": start, "end": end});
            match element.get_mut("publicKey") {
                Some(key) => key["validFor"] = window,
                None => element["validFor"] = window,
            }
        }
    }
}

#[test]
fn what_cosign_signs_with_private_instances_verifies() {
    for version in [1, 2] {
        let verified = World::recorded(version).verify(&BOTH).unwrap();
        assert_eq!((verified.logs().len(), verified.certificate_logs().len()), (1, 1), "v{version}");
        // Rekor v1 says a time of its own.
        assert_eq!(verified.seen().len(), usize::from(version == 1) + 1, "v{version}");
    }
}

#[test]
fn must_not_believe_the_second_rekor_without_somebody_who_says_the_time() {
    let without = |world: &mut World| {
        world.bundle["verificationMaterial"].as_object_mut().unwrap().remove("timestampVerificationData");
    };
    let mut world = World::recorded(2);
    without(&mut world);
    assert_eq!(world.verify(&Demands::PUBLIC_GOOD), Err(Code::TimestampMissing));
    assert_eq!(world.verify(&BOTH), Err(Code::TimestampMissing));
    let mut world = World::recorded(1);
    without(&mut world);
    assert!(world.verify(&Demands::PUBLIC_GOOD).is_ok());
    assert_eq!(world.verify(&BOTH), Err(Code::TimestampMissing));
}

/// A retired and later compromised authority or log: its own window counts (E08).
#[test]
fn must_not_lend_one_authority_the_window_of_another() {
    let (start, before) = ("2026-01-01T00:00:00Z", "2026-11-01T00:00:00Z");
    for version in [1, 2] {
        let retired = |field: &'static str| World::altered(version, |world| world.windows(field, start, before));
        assert_eq!(retired("timestampAuthorities"), Err(Code::TimestampUntrusted), "v{version}");
        assert_eq!(retired("tlogs"), Err(Code::LogEntryInvalid), "v{version}");
        assert_eq!(retired("ctlogs"), Err(Code::CertificateUntrusted), "v{version}");
        assert_eq!(retired("certificateAuthorities"), Err(Code::CertificateUntrusted), "v{version}");
        let open = World::altered(version, |world| {
            for field in ["timestampAuthorities", "tlogs", "ctlogs", "certificateAuthorities"] {
                world.windows(field, start, "2026-12-01T00:00:00Z");
            }
        });
        assert!(open.is_ok(), "v{version}");
    }
}

/// A retired log's key may be anybody's today. Where an entry says no time, and nobody else does, the log must be
/// believed now.
#[test]
fn must_not_count_a_retired_log_for_a_key_where_nobody_says_when() {
    let case = recorded::case("npm/provenance-npm-test-cli-v1-prega.publish");
    let key = PublicKey::parse(&recorded::file("bundles/npm-publish-key.pem")).unwrap();
    let verified = |end: &str, is_timeless: bool| {
        let mut bundle: Value = serde_json::from_slice(&case.bytes()).unwrap();
        if is_timeless {
            let entry = &mut bundle["verificationMaterial"]["tlogEntries"][0];
            entry.as_object_mut().unwrap().remove("inclusionPromise");
        }
        let mut root: Value = serde_json::from_slice(&recorded::file(&case.trusted_root)).unwrap();
        for log in root["tlogs"].as_array_mut().unwrap() {
            log["publicKey"]["validFor"]["end"] = end.into();
        }
        let bundle = UnverifiedBundle::parse(bundle.to_string().as_bytes()).unwrap();
        let root = TrustedRoot::parse(root.to_string().as_bytes()).unwrap();
        let artifact = Artifact::Digest(case.artifact());
        verify_bundle(&bundle, artifact, Who::Key(&key), &root, &case.demands(), now())
            .map(|verified| verified.logs().len())
            .map_err(|refusal| refusal.code)
    };
    let (before, after) = ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
    assert_eq!(verified(before, true), Err(Code::LogEntryInvalid));
    assert_eq!(verified(after, true), Ok(1));
    assert_eq!(verified(before, false), Ok(1), "the log says when, and was believed then");
}

/// One word of one authority, however often it is there.
#[test]
fn must_not_count_one_timestamp_authority_twice() {
    let two = Demands { timestamps: 2, ..BOTH };
    for version in [1, 2] {
        let mut world = World::recorded(version);
        let timestamps = &mut world.bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
        let once = timestamps[0].clone();
        timestamps.as_array_mut().unwrap().push(once);
        assert!(world.verify(&BOTH).is_ok(), "v{version}");
        assert_eq!(world.verify(&two), Err(Code::TimestampMissing), "v{version}");
    }
}

/// 16 timestamps under 64 authorities are looked at, and no 17th.
#[test]
fn pairs_of_timestamp_and_authority_are_bounded() {
    let (stranger, good) = (World::recorded(1), World::recorded(2));
    let timestamps = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps";
    let first = |world: &Value, list: &str| world.pointer(list).unwrap()[0].clone();
    let after = |others: usize| {
        World::altered(2, |world| {
            let mut services = vec![first(&stranger.root, "/timestampAuthorities"); 63];
            services.push(first(&good.root, "/timestampAuthorities"));
            world.root["timestampAuthorities"] = json!(services);
            let mut carried = vec![first(&stranger.bundle, timestamps); others];
            carried.push(first(&good.bundle, timestamps));
            *world.bundle.pointer_mut(timestamps).unwrap() = json!(carried);
        })
    };
    assert_eq!(after(15).map(|verified| verified.seen().len()), Ok(1));
    assert_eq!(after(16), Err(Code::TimestampUntrusted));
}

/// Entries and timestamps of one bundle in another.
#[test]
fn must_not_take_what_vouches_for_another_signature() {
    let (one, two) = (World::recorded(1), World::recorded(2));
    let swapped = World::altered(2, |world| {
        let timestamps = one.bundle["verificationMaterial"]["timestampVerificationData"].clone();
        world.bundle["verificationMaterial"]["timestampVerificationData"] = timestamps;
        let services = one.root["timestampAuthorities"].clone();
        world.root["timestampAuthorities"] = services;
    });
    assert_eq!(swapped, Err(Code::TimestampUntrusted));
    let swapped = World::altered(1, |world| {
        world.bundle["verificationMaterial"]["tlogEntries"] = two.bundle["verificationMaterial"]["tlogEntries"].clone();
        world.root["tlogs"] = two.root["tlogs"].clone();
    });
    assert_eq!(swapped, Err(Code::LogEntryInvalid));
}

/// A flood is refused before anything is computed.
#[test]
fn must_not_check_two_thousand_timestamps_or_entries() {
    for list in ["tlogEntries", "timestampVerificationData"] {
        let flooded = World::altered(2, |world| {
            let material = &mut world.bundle["verificationMaterial"];
            let list = match list {
                "tlogEntries" => &mut material["tlogEntries"],
                other => &mut material[other]["rfc3161Timestamps"],
            };
            let once = list[0].clone();
            list.as_array_mut().unwrap().resize(2_000, once);
        });
        assert_eq!(flooded, Err(Code::LimitExceeded), "{list}");
    }
}

#[test]
fn must_not_believe_a_timestamp_that_has_not_come_yet() {
    let world = World::recorded(2);
    let seen = world.verify(&BOTH).unwrap().seen()[0].time;
    let at = |now: Timestamp| {
        let bundle = UnverifiedBundle::parse(world.bundle.to_string().as_bytes()).unwrap();
        let root = TrustedRoot::parse(world.root.to_string().as_bytes()).unwrap();
        let expectation = IdentityExpectation {
            issuer: "https://issuer.example".to_owned(),
            subject: "https://ci.example/build".to_owned(),
        };
        let artifact = Artifact::Digest(IMAGE.parse().unwrap());
        verify_bundle(&bundle, artifact, Who::Identity(&expectation), &root, &BOTH, now).map_err(|refusal| refusal.code)
    };
    assert!(at(seen).is_ok());
    assert_eq!(at(seen - jiff::SignedDuration::from_nanos(1)), Err(Code::TimestampUntrusted));
}
