//! Asking timestamp authorities (RFC 3161, over HTTP as its section 3.4 says).

use std::time::Duration;

use hallmark_policy::image::Digest;
use hallmark_policy::limits::MAX_TIMESTAMP_BYTES;
use hallmark_policy::verify::{CertificateChain, check_timestamp_answer};
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Url};

use crate::error::{Exit, Failure};
use crate::sigstore::{Http, Problem, Question};

const QUERY_TYPE: &str = "application/timestamp-query";
const REPLY_TYPE: &str = "application/timestamp-reply";
const NONCE_BYTES: usize = 8;

/// The authorities of a run, asked for each signature.
pub(crate) struct TimestampAuthorities {
    urls: Vec<Url>,
    /// Under which an answer must verify, when the person who signs knows it.
    chain: Option<CertificateChain>,
    http: Http,
}

impl TimestampAuthorities {
    /// The authorities at these addresses. Plain HTTP is as good as https: an answer is signed, and holds the nonce.
    pub(crate) fn new(addresses: &[String], chain: Option<CertificateChain>) -> Result<Self, Failure> {
        Ok(Self { chain, ..Self::patient(addresses, Duration::ZERO)? })
    }

    /// The same, asked again for this long when they are down or busy.
    pub(crate) fn patient(addresses: &[String], patience: Duration) -> Result<Self, Failure> {
        let mut urls: Vec<Url> = Vec::new();
        for address in addresses {
            let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            let url = url.filter(|url| url.host().is_some() && url.username().is_empty() && url.password().is_none());
            let hint = "give an http or https address without a password, such as `https://timestamp.example.com/tsr`";
            let url = url.ok_or_else(|| {
                Failure::new(Exit::Usage, "a `--timestamp-url` is not the address of a timestamp authority", hint)
            })?;
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        Ok(Self { urls, chain: None, http: Http::of(Client::builder(), patience)? })
    }

    /// How many are asked.
    pub(crate) fn len(&self) -> usize {
        self.urls.len()
    }

    /// One answer of each authority, about these bytes. One that fails fails the signature: what was asked for is
    /// attached whole or not at all.
    pub(crate) async fn ask(&self, signature: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        let mut answers = Vec::new();
        for url in &self.urls {
            let answer = self.ask_one(url, signature).await.map_err(|problem| {
                let hint = "check the address and the authority's state, and run it again; nothing was attached";
                problem.of("timestamp authority", url, hint)
            })?;
            answers.push(answer);
        }
        Ok(answers)
    }

    async fn ask_one(&self, url: &Url, signature: &[u8]) -> Result<Vec<u8>, Problem> {
        let nonce = nonce().map_err(Problem::Broken)?;
        let question = Question {
            method: Method::POST,
            url: url.clone(),
            headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(REPLY_TYPE))]),
            body: Some((QUERY_TYPE, query(&Digest::of(signature), &nonce))),
            accepted: &[200, 201],
            most: MAX_TIMESTAMP_BYTES,
            secret: None,
        };
        let answer = self.http.ask(&question).await?.body;
        check_timestamp_answer(&answer, signature, &nonce, self.chain.as_ref()).map_err(Problem::Broken)?;
        Ok(answer)
    }
}

/// A number that is positive, and has no leading zeros, as DER wants integers to be written.
fn nonce() -> Result<[u8; NONCE_BYTES], String> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| "the system gives no random numbers".to_owned())?;
    let [first, ..] = &mut nonce;
    *first = (*first & 0x3f) | 0x40;
    Ok(nonce)
}

/// TimeStampReq (RFC 3161, section 2.4.1): version 1, the SHA-256 of what is to be stamped, the nonce, and the wish for
/// the authority's certificate.
fn query(digest: &Digest, nonce: &[u8; NONCE_BYTES]) -> Vec<u8> {
    const VERSION: [u8; 3] = [0x02, 0x01, 0x01];
    /// AlgorithmIdentifier of id-sha256 (RFC 5754, section 2.2), with NULL, as older authorities want it.
    const SHA256: [u8; 15] = [0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00];
    const CERTIFICATE_WANTED: [u8; 3] = [0x01, 0x01, 0xff];
    let hash = hex_bytes(&digest.encoded());
    let imprint = sequence(&[&SHA256, &[0x04, 0x20], &hash]);
    sequence(&[&VERSION, &imprint, &[0x02, 0x08], nonce, &CERTIFICATE_WANTED])
}

/// A SEQUENCE of less than 128 bytes.
fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut sequence = vec![0x30, u8::try_from(content.len()).unwrap_or(u8::MAX)];
    sequence.extend(content);
    sequence
}

fn hex_bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)?.try_into().ok()).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0_u8, |value, digit| value.wrapping_mul(16) | digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_the_structure_of_rfc_3161() {
        let query = query(&Digest::of(b"x"), &[0x41, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(query.len(), 67 + 2);
        assert_eq!(&query[..5], [0x30, 67, 0x02, 0x01, 0x01]);
        assert_eq!(hex_bytes("00ff7f"), [0, 255, 127]);
    }

    #[test]
    fn must_not_take_what_is_no_address_nor_repeat_a_password() {
        for bad in ["", "timestamp.example.com", "file:///etc/passwd", "https://ann:SECRET@timestamp.example.com/"] {
            let failure = TimestampAuthorities::new(&[bad.to_owned()], None).err().unwrap();
            assert_eq!(failure.exit, Exit::Usage, "{bad}");
            assert!(!failure.message.contains("SECRET"));
        }
        let same = ["http://timestamp.example.com/tsr".to_owned(), "http://timestamp.example.com/tsr".to_owned()];
        assert_eq!(TimestampAuthorities::new(&same, None).unwrap().len(), 1);
    }
}
