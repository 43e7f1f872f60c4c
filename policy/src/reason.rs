//! The one table of reasons: code -> outcome -> HTTP status -> exit code.
//!
//! A code is part of the interface: it never changes its name or its outcome once released. The reference page
//! `docs/reference/reason-codes.md` is generated from this table and compared with it in a test.

use std::fmt;

/// The three outcomes. There is no fourth, and no error path beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The policy is met, with a proof.
    Allow,
    /// We could not look at all that matters.
    Undetermined,
    /// We looked, and the policy is not met.
    Deny,
}

impl Outcome {
    /// `allow`, `deny` or `undetermined`, as the interfaces spell them.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Undetermined => "undetermined",
            Self::Deny => "deny",
        }
    }

    /// The HTTP status that `?enforce=true` answers with.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::Allow => 200,
            Self::Undetermined => 503,
            Self::Deny => 403,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! codes {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $text:literal, $outcome:ident, $exit:literal, $hint:literal; )+) => {
        /// A stable, machine-readable reason.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code { $( $(#[doc = $doc])+ $variant, )+ }

        impl Code {
            /// Every code: denials first, each part in alphabetical order.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The kebab-case name that the interfaces show.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }

            /// What a verdict becomes when this is its reason.
            #[must_use]
            pub fn outcome(self) -> Outcome {
                match self { $( Self::$variant => Outcome::$outcome, )+ }
            }

            /// The exit code of the command line when this is the first reason.
            #[must_use]
            pub fn exit_code(self) -> u8 {
                match self { $( Self::$variant => $exit, )+ }
            }

            /// What to do about it: one sentence, lower case, no full stop.
            #[must_use]
            pub fn hint(self) -> &'static str {
                match self { $( Self::$variant => $hint, )+ }
            }

            /// What the code means, in one sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $( Self::$variant => concat!($($doc),+).trim_ascii(), )+ }
            }
        }
    };
}

codes! {
    /// A signature does not carry an annotation that was asked for inside what was signed.
    AnnotationMismatch = "annotation-mismatch", Deny, 12,
        "sign again with `-a key=value`, or ask for the annotations that were signed";
    /// There is no attestation of a type that is asked for, by somebody who is asked for.
    AttestationMissing = "attestation-missing", Deny, 12,
        "attest it with `hallmark attest --type TYPE --predicate FILE --key KEY IMAGE`";
    /// An attestation is older than the rule takes.
    AttestationTooOld = "attestation-too-old", Deny, 12,
        "make a fresh one (scan or build again) and attest it";
    /// Nothing that can be believed says when an attestation was made, and the rule needs to know.
    AttestationUndated = "attestation-undated", Deny, 12,
        "attest it again with a predicate that has its time, or with `--timestamp-url`";
    /// The signing certificate is not one of a trusted authority, was not valid when it was used, or was not published.
    CertificateUntrusted = "certificate-untrusted", Deny, 12,
        "check that the trust root is the one of the instance that signed, and sign again if the certificate had ended";
    /// A signature or its envelope is about another digest than the image that was asked for.
    DigestMismatch = "digest-mismatch", Deny, 12,
        "the signature belongs to another image; sign this digest, or deploy the one that was signed";
    /// The signing certificate is about somebody else.
    IdentityMismatch = "identity-mismatch", Deny, 12,
        "ask for the identity and the issuer that the message names, if they are the right ones";
    /// The image itself is not in the registry.
    ImageNotFound = "image-not-found", Deny, 11,
        "check the name and the tag, and that the image was pushed";
    /// The key that signed is marked as compromised, and nothing proves that the signature is older.
    KeyCompromised = "key-compromised", Deny, 12,
        "sign the image again with a key that is not compromised";
    /// The key that signed is past the date until which its signatures are accepted.
    KeyExpired = "key-expired", Deny, 12,
        "sign the image again with the authority's current key, or extend the key's window in the policy";
    /// The key that signed is not to be trusted before a date that has not come yet.
    KeyNotYetValid = "key-not-yet-valid", Deny, 12,
        "wait for the key's `sign.from`, or sign with the key that is valid now";
    /// The key that signed was revoked.
    KeyRevoked = "key-revoked", Deny, 12,
        "sign the image again with a key that is not revoked";
    /// An item in the registry is larger or more numerous than what is looked at.
    LimitExceeded = "limit-exceeded", Deny, 12,
        "remove the surplus signatures from the repository, or sign a fresh copy of the image";
    /// An entry of a trusted transparency log does not vouch for this signature.
    LogEntryInvalid = "log-entry-invalid", Deny, 12,
        "the entry belongs to another signature or was altered; sign again and find out who changed it";
    /// Fewer trusted transparency logs hold an entry of the signature than are asked for.
    LogEntryMissing = "log-entry-missing", Deny, 12,
        "sign again with the log that is asked for, enter what `--log-later` signed with `hallmark complete`, or use the trust root \
         that has it";
    /// An item in the registry does not follow its format.
    Malformed = "malformed", Deny, 12,
        "the item was not written by a signing tool, or was damaged; remove it and sign again";
    /// No rule of any trust policy covers the image, so no request was made.
    NoMatchingRule = "no-matching-rule", Deny, 14,
        "add a rule whose `images` cover this repository and namespace";
    /// What was signed is not of a payload type that says "this image is signed".
    PayloadTypeMismatch = "payload-type-mismatch", Deny, 12,
        "sign the image with a tool that writes image signatures, such as `hallmark sign`";
    /// A child of the index that the rule covers is not covered, or the index has none for a platform.
    PlatformNotCovered = "platform-not-covered", Deny, 12,
        "sign every image of the index (`hallmark sign --recursive`), or list the platforms that you run in `platforms`";
    /// A signed statement is about something else than a plain signature.
    PredicateTypeMismatch = "predicate-type-mismatch", Deny, 12,
        "an attestation does not count as a signature; run `hallmark sign` as well";
    /// The image was built by another builder or from another source than the rule takes.
    ProvenanceMismatch = "provenance-mismatch", Deny, 12,
        "deploy an image of the pipeline that the rule names, or add the builder or source that the message names";
    /// The name inside what was signed is not the name that was asked for.
    ReferenceMismatch = "reference-mismatch", Deny, 12,
        "sign the image under the name that it is deployed by, or map the mirror in `mirrors`";
    /// The rule binds names, and nothing that was signed carries one.
    ReferenceMissing = "reference-missing", Deny, 12,
        "sign with a tool that writes the image's name, such as `hallmark sign`, or use `reference: any`";
    /// A bill of materials is not of a format that the rule takes, or lists too little.
    SbomMismatch = "sbom-mismatch", Deny, 12,
        "make it again with a tool that writes the format that the message names, and attest it";
    /// What was signed says itself that the signature has ended.
    SignatureExpired = "signature-expired", Deny, 12,
        "sign the image again";
    /// A signature names a trusted key, and that key does not verify it.
    SignatureInvalid = "signature-invalid", Deny, 12,
        "the signature or the image's statement was altered; sign again and find out who changed it";
    /// The rule accepts digests only, and the image was asked for by tag.
    TagNotAllowed = "tag-not-allowed", Deny, 14,
        "ask for the image by digest (`name@sha256:...`)";
    /// Fewer authorities have signed than the rule asks for.
    ThresholdNotMet = "threshold-not-met", Deny, 12,
        "have the missing authorities sign the image as well";
    /// Fewer timestamp authorities vouch for the signature's time than its authority needs, and it carries no more.
    TimestampMissing = "timestamp-missing", Deny, 12,
        "sign again with `--timestamp-url URL`, once for each timestamp authority that is needed";
    /// The signature carries timestamps, and too few of them are of timestamp authorities that are trusted.
    TimestampUntrusted = "timestamp-untrusted", Deny, 12,
        "sign again with a timestamp of an authority in `timestampAuthorities`, or add the whole chain of this one there";
    /// Every place where a signature could be was looked at, and there is none.
    Unsigned = "unsigned", Deny, 10,
        "sign it with `hallmark sign --key KEY IMAGE`";
    /// Nobody whom the rule asks for made the signature: no trusted key verifies it.
    UntrustedKey = "untrusted-key", Deny, 12,
        "add the key, or the identity of the certificate, to an authority of the rule, or sign with one that is there";
    /// The item is of a kind that this version does not verify.
    Unsupported = "unsupported", Deny, 12,
        "sign with a key and in a format that this version verifies: a Sigstore bundle or simple signing";
    /// A scan found more vulnerabilities than the rule takes.
    VulnerabilitiesFound = "vulnerabilities-found", Deny, 12,
        "use the fixed versions and build again, or have somebody answer for them: `allow` with a date, or an OpenVEX attestation";
    /// The key is of a kind or size that is not accepted.
    WeakKey = "weak-key", Deny, 12,
        "use a key that `hallmark key generate` makes";
    /// A credential helper or provider that should know who we are to the registry has failed.
    CredentialsUnavailable = "credentials-unavailable", Undetermined, 20,
        "run the program that is named by hand as the same user; log in again, or mend its configuration";
    /// The time allowed for the verdict ran out before all was looked at.
    DeadlineExceeded = "deadline-exceeded", Undetermined, 20,
        "ask again: what was fetched so far is kept; allow more time if it happens often";
    /// What was found before was enough, so that the rest was not fetched.
    NotFetched = "not-fetched", Undetermined, 20,
        "ask again: all of it is looked at where the first part is not enough";
    /// A host's address may not be dialled: private, or this machine's, and not configured so.
    RegistryAddressRefused = "registry-address-refused", Undetermined, 20,
        "check what the host's name resolves to; if it is right, set `addresses` for the host in `registry.hosts`";
    /// The configuration of registries blocks the image's name, or reads and writes it at different places.
    RegistryBlocked = "registry-blocked", Undetermined, 20,
        "use another name for the image, or change the route in the configuration: `blocked`, `location`";
    /// The registry contradicts itself: what it lists is not there, or it answers what no registry may answer.
    RegistryInconsistent = "registry-inconsistent", Undetermined, 20,
        "ask again; if it stays so, push the image's signatures again or ask the registry's operator";
    /// The registry asks for less traffic and could not be asked again in time.
    RegistryThrottled = "registry-throttled", Undetermined, 20,
        "wait and ask again; log in for a higher limit, or ask a mirror of the registry";
    /// The registry refuses the credentials, or asks for some where there are none.
    RegistryUnauthorized = "registry-unauthorized", Undetermined, 20,
        "log in to the registry, and check that the credentials may pull this repository";
    /// The registry could not be reached, or failed.
    RegistryUnavailable = "registry-unavailable", Undetermined, 20,
        "check the registry's name, the network and the registry's state, then ask again";
}

impl Code {
    /// The HTTP status that `?enforce=true` answers with when this is the first reason.
    #[must_use]
    pub fn http_status(self) -> u16 {
        self.outcome().http_status()
    }

    /// The code with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a reason code")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_kebab_case_unique_and_never_an_allow() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            let text = code.as_str();
            assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{text}");
            assert!(seen.insert(text), "{text} twice");
            assert_ne!(code.outcome(), Outcome::Allow, "{text}");
            assert_ne!(code.exit_code(), 0, "{text}");
            assert_eq!(Code::parse(text), Some(*code));
            assert!(code.meaning().ends_with('.'), "{text}");
            assert!(!code.hint().is_empty() && !code.hint().ends_with('.'), "{text}");
        }
    }

    #[test]
    fn the_exit_codes_tell_unsigned_from_refused_from_unknown() {
        for code in Code::ALL {
            match code.outcome() {
                Outcome::Undetermined => assert_eq!(code.exit_code(), 20, "{code}"),
                _ => assert!(matches!(code.exit_code(), 10 | 11 | 12 | 14), "{code}"),
            }
        }
        assert_eq!(Code::Unsigned.exit_code(), 10);
    }
}
