//! Content digests (OCI image-spec, "Digests").

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256, SHA512, digest};

use super::Tag;

/// A digest with a registered algorithm and the right length: `sha256:<64 hex>` or `sha512:<128 hex>`.
///
/// The two algorithms are those that the OCI image specification registers; upper-case hex, other algorithms and
/// other lengths do not parse, so a digest can safely become part of a path or of a tag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Value);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

/// Computes a digest of bytes that arrive in parts, so that nobody has to hold them all.
///
/// ```
/// use hallmark_policy::image::{Digest, Hasher};
///
/// let expected = Digest::of(b"layer");
/// let mut hasher = Hasher::like(expected);
/// hasher.update(b"lay");
/// hasher.update(b"er");
/// assert_eq!(hasher.finish(), expected);
/// ```
#[derive(Clone)]
pub struct Hasher {
    context: Context,
    is_sha512: bool,
}

impl Hasher {
    /// Computes with the algorithm of this digest.
    #[must_use]
    pub fn like(digest: Digest) -> Self {
        match digest.0 {
            Value::Sha256(_) => Self { context: Context::new(&SHA256), is_sha512: false },
            Value::Sha512(_) => Self { context: Context::new(&SHA512), is_sha512: true },
        }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// The digest of everything that was added.
    #[must_use]
    pub fn finish(self) -> Digest {
        let computed = self.context.finish();
        Digest(if self.is_sha512 {
            let mut value = [0; 64];
            value.copy_from_slice(computed.as_ref());
            Value::Sha512(value)
        } else {
            let mut value = [0; 32];
            value.copy_from_slice(computed.as_ref());
            Value::Sha256(value)
        })
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The algorithm is not one of those that the OCI image specification registers.
    #[error("digest algorithm `{algorithm}` is not supported; use sha256 or sha512")]
    Algorithm {
        /// The text before the colon.
        algorithm: String,
    },
    /// The encoded part is not lower-case hex of the algorithm's length.
    #[error("digest `{digest}` is malformed: expected {expected} lower-case hex digits after the colon")]
    Encoding {
        /// The whole text.
        digest: String,
        /// Number of hex digits that the algorithm has.
        expected: usize,
    },
}

impl Digest {
    /// The SHA-256 digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut value = [0; 32];
        value.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(Value::Sha256(value))
    }

    /// Whether some bytes have this digest, under this digest's own algorithm.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        match &self.0 {
            Value::Sha256(expected) => digest(&SHA256, bytes).as_ref() == expected,
            Value::Sha512(expected) => digest(&SHA512, bytes).as_ref() == expected,
        }
    }

    /// The algorithm's registered name: `sha256` or `sha512`.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.0 {
            Value::Sha256(_) => "sha256",
            Value::Sha512(_) => "sha512",
        }
    }

    /// The encoded part: lower-case hex.
    #[must_use]
    pub fn encoded(&self) -> String {
        match &self.0 {
            Value::Sha256(value) => hex::encode(value),
            Value::Sha512(value) => hex::encode(value),
        }
    }

    /// The tag of the referrers fallback index (OCI distribution-spec, "Referrers Tag Schema"): `sha256-<hex>`,
    /// cut to a tag's 128 characters as the specification says.
    #[must_use]
    pub fn fallback_tag(&self) -> Tag {
        let mut tag = format!("{}-{}", self.algorithm(), self.encoded());
        tag.truncate(128);
        Tag::trusted(tag)
    }

    /// The tag under which cosign 2 keeps attestations: `sha256-<hex>.att`.
    #[must_use]
    pub fn attestation_tag(&self) -> Tag {
        let mut tag = format!("{}-{}.att", self.algorithm(), self.encoded());
        tag.truncate(128);
        Tag::trusted(tag)
    }

    /// The tag under which cosign 2 keeps simple-signing signatures: `sha256-<hex>.sig`.
    #[must_use]
    pub fn signature_tag(&self) -> Tag {
        self.attachment_tag("sig")
    }

    /// The tags under which cosign 2 keeps what it attaches: `sha256-<hex>.sig`, `.att` (attestations) and `.sbom`.
    #[must_use]
    pub fn attachment_tags(&self) -> [Tag; 3] {
        ["sig", "att", "sbom"].map(|suffix| self.attachment_tag(suffix))
    }

    fn attachment_tag(&self, suffix: &str) -> Tag {
        let mut tag = format!("{}-{}.{suffix}", self.algorithm(), self.encoded());
        tag.truncate(128);
        Tag::trusted(tag)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, encoded) = text.split_once(':').unwrap_or((text, ""));
        let malformed = |expected| DigestError::Encoding { digest: shorten(text), expected };
        let lower_hex = encoded.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match algorithm {
            "sha256" => {
                let mut value = [0; 32];
                if !lower_hex || hex::decode_to_slice(encoded, &mut value).is_err() {
                    return Err(malformed(64));
                }
                Ok(Self(Value::Sha256(value)))
            }
            "sha512" => {
                let mut value = [0; 64];
                if !lower_hex || hex::decode_to_slice(encoded, &mut value).is_err() {
                    return Err(malformed(128));
                }
                Ok(Self(Value::Sha512(value)))
            }
            other => Err(DigestError::Algorithm { algorithm: shorten(other) }),
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(160).collect()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm())?;
        f.write_str(":")?;
        // A verdict names a dozen digests: nothing is allocated for their digits.
        let mut digits = [0; 128];
        let digits = match &self.0 {
            Value::Sha256(value) => {
                digits.first_chunk_mut::<64>().map(|digits| (digits.as_mut_slice(), value.as_slice()))
            }
            Value::Sha512(value) => Some((digits.as_mut_slice(), value.as_slice())),
        };
        let (digits, value) = digits.ok_or(fmt::Error)?;
        hex::encode_to_slice(value, digits).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn registered_algorithms_round_trip() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
        let long = format!("sha512:{}", "0".repeat(128));
        assert_eq!(long.parse::<Digest>().unwrap().to_string(), long);
        assert!(Digest::of(b"a").matches(b"a"));
        assert!(!Digest::of(b"a").matches(b"b"));
    }

    #[test]
    fn a_digest_of_parts_is_the_digest_of_the_whole() {
        let long = format!("sha512:{}", hex::encode(digest(&SHA512, b"abc").as_ref())).parse::<Digest>().unwrap();
        for expected in [Digest::of(b"abc"), long] {
            let mut hasher = Hasher::like(expected);
            hasher.update(b"a");
            hasher.update(b"");
            hasher.update(b"bc");
            assert_eq!(hasher.clone().finish(), expected);
            hasher.update(b"d");
            assert_ne!(hasher.finish(), expected);
        }
    }

    #[test]
    fn must_not_parse_other_algorithms_lengths_cases_or_paths() {
        for text in [
            "",
            "sha256",
            "sha256:",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:abc",
            "sha256:../../../../etc/passwd",
            "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
            "SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
