//! Keys in the transit engine of HashiCorp Vault or OpenBao: `hashivault://NAME` and `openbao://NAME`.
//!
//! Follows the transit engine's HTTP API (`GET keys/:name`, `POST sign/:name`). Digests are computed here; the version of
//! the key is looked up once, and every request names it, so that a rotation in the middle of a run changes nothing.

mod answer;
mod client;

use std::fmt;

use futures_util::future::{BoxFuture, FutureExt as _};
use hallmark_policy::verify::{KeyKind, PublicKey};

use self::answer::KeyAnswer;
use self::client::{Client, Problem};
use super::{Algorithm, ManagedKey, SigningKey, SigningKeyError};

/// Most characters of a key's name. Vault has no bound of its own.
const MAX_NAME_CHARS: usize = 256;

/// The name of a key in a transit engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultReference {
    flavour: Flavour,
    name: String,
    /// The version, where it is not to be the newest.
    version: Option<u32>,
}

/// Whose environment variables are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    Hashicorp,
    OpenBao,
}

impl Flavour {
    fn scheme(self) -> &'static str {
        match self {
            Self::Hashicorp => "hashivault://",
            Self::OpenBao => "openbao://",
        }
    }

    fn form(self) -> &'static str {
        match self {
            Self::Hashicorp => "hashivault://NAME[?version=3]",
            Self::OpenBao => "openbao://NAME[?version=3]",
        }
    }
}

impl VaultReference {
    /// Reads `hashivault://NAME`, `openbao://NAME`, each with `?version=N` or without; `None` for other references.
    pub(super) fn parse(text: &str) -> Option<Result<Self, SigningKeyError>> {
        let flavour = [Flavour::Hashicorp, Flavour::OpenBao].into_iter().find(|it| text.starts_with(it.scheme()))?;
        let rest = text.get(flavour.scheme().len()..).unwrap_or_default();
        let (name, version) = match rest.split_once("?version=") {
            Some((name, version)) => (name, Some(version.parse().ok().filter(|version| *version > 0))),
            None => (rest, None),
        };
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_name = name.len() <= MAX_NAME_CHARS
            && name.bytes().next().is_some_and(letter)
            && name.bytes().next_back().is_some_and(letter)
            && name.bytes().all(|byte| letter(byte) || byte == b'-' || byte == b'.');
        Some(match (is_name, version) {
            (true, None) => Ok(Self { flavour, name: name.to_owned(), version: None }),
            (true, Some(Some(version))) => Ok(Self { flavour, name: name.to_owned(), version: Some(version) }),
            _ => Err(SigningKeyError::ReferenceForm { form: flavour.form() }),
        })
    }

    /// The key, ready to sign.
    pub(super) fn open(&self) -> Result<SigningKey, SigningKeyError> {
        let (public, version) = self.look_up()?;
        if public.kind() == KeyKind::Rsa2048 {
            return Err(SigningKeyError::UnsupportedKind { kind: public.kind().as_str().to_owned() });
        }
        // A client of its own: connections belong to the runtime that opened them.
        let key = VaultKey { client: self.client()?, reference: self.clone(), version };
        Ok(SigningKey::managed(public, Box::new(key)))
    }

    /// The public half.
    pub(super) fn public_key(&self) -> Result<PublicKey, SigningKeyError> {
        self.look_up().map(|(public, _)| public)
    }

    fn look_up(&self) -> Result<(PublicKey, u32), SigningKeyError> {
        let client = self.client()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.failure(&Problem::local(error.to_string())))?;
        let answer = runtime.block_on(client.get(&["keys", &self.name])).map_err(|problem| self.failure(&problem))?;
        let answer: KeyAnswer = answer::parse(&answer).map_err(|problem| self.failure(&problem))?;
        answer.public_key(self.version).map_err(|problem| self.failure(&problem))
    }

    fn client(&self) -> Result<Client, SigningKeyError> {
        Client::of_environment(self.flavour == Flavour::OpenBao).map_err(|problem| self.failure(&problem))
    }

    fn failure(&self, problem: &Problem) -> SigningKeyError {
        SigningKeyError::KeyStore { key: self.to_string(), problem: problem.message.clone(), hint: problem.hint }
    }
}

impl fmt::Display for VaultReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.flavour.scheme(), self.name)?;
        self.version.map_or(Ok(()), |version| write!(f, "?version={version}"))
    }
}

/// One version of a key in a transit engine.
struct VaultKey {
    client: Client,
    reference: VaultReference,
    version: u32,
}

impl VaultKey {
    async fn ask(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, Problem> {
        let question = answer::question(algorithm, message, self.version);
        let answer = self.client.post(&["sign", &self.reference.name], &question).await?;
        answer::signature(&answer, self.version)
    }
}

impl ManagedKey for VaultKey {
    fn sign<'a>(&'a self, algorithm: Algorithm, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SigningKeyError>> {
        async move { self.ask(algorithm, message).await.map_err(|problem| self.reference.failure(&problem)) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_name_with_or_without_a_version() {
        for text in ["hashivault://release", "openbao://team.release-2026", "hashivault://a?version=3"] {
            assert_eq!(VaultReference::parse(text).unwrap().unwrap().to_string(), text);
        }
        assert_eq!(VaultReference::parse("vault://release"), None);
        assert_eq!(VaultReference::parse("./hashivault://x"), None);
    }

    #[test]
    fn must_not_take_a_path_or_a_query_for_the_name_of_a_key() {
        for name in [
            "",
            "a/b",
            "../sys/seal",
            "..",
            ".a",
            "a.",
            "a%2fb",
            "a?x=1",
            "a#b",
            "a b",
            "a?version=0",
            "a?version=-1",
            "a?version=",
            "a?version=1?version=2",
            "é",
            &"a".repeat(257),
        ] {
            let refusal = VaultReference::parse(&format!("hashivault://{name}")).unwrap();
            assert!(matches!(refusal, Err(SigningKeyError::ReferenceForm { .. })), "{name}");
        }
    }
}
