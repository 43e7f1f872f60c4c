//! What can go wrong with a private key, in words for people. None of them repeats a secret or the text of a key.

use hallmark_policy::verify::KeyError;

use super::cosign_format::{ScryptCost, accepted_costs};
use super::file::MAX_KEY_FILE_BYTES;

/// Why a key cannot be made, read, opened or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// A file of that name is there already.
    #[error("`{path}` is there already; keys are never overwritten")]
    AlreadyThere {
        /// The file.
        path: String,
    },
    /// The directory is no safe place for a key.
    #[error("no key is written to `{path}`: {problem}")]
    Directory {
        /// The directory.
        path: String,
        /// What is wrong with it, as the end of a sentence.
        problem: &'static str,
    },
    /// The passphrase that was typed is empty.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// A variable that a reference names is not set.
    #[error("the environment variable `{variable}` is not set")]
    EnvironmentMissing {
        /// Its name.
        variable: String,
    },
    /// A variable is not UTF-8 text.
    #[error("the environment variable `{variable}` is not text")]
    EnvironmentNotText {
        /// Its name.
        variable: String,
    },
    /// The text of a key where its name belongs.
    #[error("a key is named by a reference; its text does not belong on the command line")]
    InlineKey,
    /// A PIN where only the name of its place belongs.
    #[error("a PIN does not belong on the command line")]
    InlinePin,
    /// The operating system refuses to read or write.
    #[error("cannot {action} `{path}`: {problem}")]
    Io {
        /// `read`, `create`, `write`.
        action: &'static str,
        /// The file.
        path: String,
        /// The system's words.
        problem: String,
    },
    /// What keeps a key does not do what it is asked to.
    #[error("`{key}`: {problem}")]
    KeyStore {
        /// The reference to the key.
        key: String,
        /// What is wrong, as a clause.
        problem: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// A private key that does not leave its place, where its text is needed.
    #[error("the private half of `{key}` never leaves its place")]
    KeptElsewhere {
        /// The reference to the key.
        key: String,
    },
    /// The text or the bytes of a key do not have the form that they claim.
    #[error("not {what}: {problem}")]
    Malformed {
        /// What it should be, with its article.
        what: &'static str,
        /// What is wrong, as the end of a sentence.
        problem: String,
    },
    /// A passphrase is needed, and there is neither a variable nor a terminal.
    #[error("a passphrase is needed, and there is no terminal to ask for it")]
    PassphraseMissing,
    /// The two passphrases that were typed differ.
    #[error("the two passphrases are not the same")]
    PassphrasesDiffer,
    /// A PIN is needed, and there is neither a variable, a file, nor a terminal.
    #[error("the PIN of the token is needed, and there is no terminal to ask for it")]
    PinMissing,
    /// An encrypted form that is not read.
    #[error("{form} cannot be read by this version")]
    ProtectedForm {
        /// The form.
        form: &'static str,
    },
    /// What should be a public key is none.
    #[error(transparent)]
    Public(#[from] KeyError),
    /// A public key where a private one belongs.
    #[error("this is a public key; signing needs the private one")]
    PublicInstead,
    /// The system has no random numbers to give.
    #[error("the operating system gives no random numbers")]
    Random,
    /// A reference to a key store that names no key there.
    #[error("the reference does not name a key; it has the form `{form}`")]
    ReferenceForm {
        /// The form.
        form: &'static str,
    },
    /// A key does not sign what it is asked to.
    #[error("the key does not sign: {problem}")]
    Refused {
        /// Why, in the words of whoever keeps it, or ours.
        problem: String,
    },
    /// A key file asks for more work or memory than one honest key needs.
    #[error("the key file asks for scrypt with {cost}; accepted are {}", accepted_costs())]
    ScryptCost {
        /// What it asks for.
        cost: ScryptCost,
    },
    /// More bytes than a key file has.
    #[error("`{path}` is larger than the {MAX_KEY_FILE_BYTES} bytes that a key file may have")]
    TooLarge {
        /// The file or the variable.
        path: String,
    },
    /// A private key that lies in the clear.
    #[error("the private key is not encrypted")]
    Unprotected,
    /// A key of a kind that does not sign.
    #[error("{kind} keys do not sign here; keys that do are ECDSA P-256 and P-384, Ed25519, RSA-3072 and RSA-4096")]
    UnsupportedKind {
        /// The kind.
        kind: String,
    },
    /// A reference to a place for keys that this version does not know.
    #[error("keys named by `{scheme}` are not supported by this version")]
    UnsupportedReference {
        /// The scheme.
        scheme: String,
    },
    /// A variable has a name that no variable has.
    #[error("what follows `env://` is not the name of an environment variable")]
    VariableName,
    /// The passphrase does not open the key.
    #[error("the passphrase does not open the key")]
    WrongPassphrase,
}

impl SigningKeyError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::AlreadyThere { .. } => "choose another name with `--output-key-prefix`, or move the old file away",
            Self::Directory { .. } => "choose a directory of your own that nobody else can write to",
            Self::EmptyPassphrase => "type one, or set `HALLMARK_PASSWORD` to the empty text if that is what you want",
            Self::EnvironmentMissing { .. } => "set it to the PEM text of the key",
            Self::EnvironmentNotText { .. } => "set it to UTF-8 text",
            Self::InlineKey => "put the key into a file, or into an environment variable and write `env://VARIABLE`",
            Self::InlinePin => {
                "set HALLMARK_PKCS11_PIN, or put it into a file and write `pin-source=file:/path` instead of `pin-value`"
            }
            Self::Io { .. } => "check that the path is right and that you may use it",
            Self::Malformed { .. } => {
                "a key file is PEM text, as `hallmark key generate`, `cosign generate-key-pair` and `openssl ecparam` write it"
            }
            Self::KeyStore { hint, .. } => hint,
            Self::KeptElsewhere { .. } => "sign with it where it is; `hallmark key import` writes its public half",
            Self::PassphraseMissing => {
                "set `HALLMARK_PASSWORD` (or `COSIGN_PASSWORD`) in the environment; a passphrase never comes from the command line"
            }
            Self::PinMissing => "set HALLMARK_PKCS11_PIN, or name a file by `pin-source=file:/path` in the reference",
            Self::PassphrasesDiffer => "try again",
            Self::ProtectedForm { .. } => {
                "decrypt it on the way: `openssl pkey -in KEY | hallmark key import --key /dev/stdin`; or write it as PKCS#8: `openssl pkcs8 -topk8 -scrypt -in KEY`"
            }
            Self::Public(KeyError::Private) => "give the `.pub` file",
            Self::Public(KeyError::Unsupported { .. } | KeyError::Weak { .. }) => {
                "use a key that `hallmark key generate` makes"
            }
            Self::Public(_) => "a public key is PEM text with the label `PUBLIC KEY`",
            Self::PublicInstead => "give the `.key` file",
            Self::Random => "try again when the system has started fully",
            Self::ReferenceForm { .. } => "see `docs/reference/keys.md` for how keys are named",
            Self::Refused { .. } => "check that the key may sign, and what keeps it",
            Self::ScryptCost { .. } => {
                "if you trust the file, read it with the program that wrote it and import it again"
            }
            Self::TooLarge { .. } => "check that this is the key file",
            Self::Unprotected => "encrypt it first: `hallmark key import --key FILE`",
            Self::UnsupportedKind { .. } => "make one with `hallmark key generate`",
            Self::UnsupportedReference { .. } => {
                "name a file (`./release.key`), an environment variable (`env://RELEASE_KEY`), a key in Vault or OpenBao (`hashivault://release`), or one on a token (`pkcs11:token=T;object=K`)"
            }
            Self::VariableName => "write `env://RELEASE_KEY`: the name of the variable, not its value",
            Self::WrongPassphrase => "check `HALLMARK_PASSWORD` or `COSIGN_PASSWORD`, or unset both to be asked",
        }
    }
}
