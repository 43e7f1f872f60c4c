//! `pkcs11:` URIs (RFC 7512): which module, which token, which key, and where its PIN is.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::key::{SigningKeyError, env, file};

/// Most bytes of a URI.
const MAX_URI_BYTES: usize = 4096;
const FORM: &str = "pkcs11:token=TOKEN;object=KEY?module-path=/usr/lib/softhsm/libsofthsm2.so";

/// A key on a token.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Pkcs11Uri {
    pub(super) token: Option<String>,
    pub(super) manufacturer: Option<String>,
    pub(super) model: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) slot: Option<u64>,
    /// `CKA_LABEL`.
    pub(super) object: Option<Vec<u8>>,
    /// `CKA_ID`.
    pub(super) id: Option<Vec<u8>>,
    module: Option<PathBuf>,
    pin_source: Option<PathBuf>,
    text: String,
}

impl Pkcs11Uri {
    /// Reads a URI; `None` for other references.
    pub(in crate::key) fn parse(text: &str) -> Option<Result<Self, SigningKeyError>> {
        let rest = text.strip_prefix("pkcs11:")?;
        Some(Self::parse_rest(text, rest))
    }

    fn parse_rest(text: &str, rest: &str) -> Result<Self, SigningKeyError> {
        let malformed = || SigningKeyError::ReferenceForm { form: FORM };
        if text.len() > MAX_URI_BYTES {
            return Err(malformed());
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self { text: text.to_owned(), ..Self::default() };
        let mut seen = Vec::new();
        let path = path.split(';').filter(|part| !part.is_empty()).map(|part| (part, false));
        let query = query.split('&').filter(|part| !part.is_empty()).map(|part| (part, true));
        for (part, is_query) in path.chain(query) {
            let (name, value) = part.split_once('=').ok_or_else(malformed)?;
            // RFC 7512, section 2.3: an attribute stands once.
            if seen.contains(&name) {
                return Err(malformed());
            }
            seen.push(name);
            uri.take(name, decode(value).ok_or_else(malformed)?, is_query)?;
        }
        if uri.object.is_none() && uri.id.is_none() {
            return Err(malformed());
        }
        Ok(uri)
    }

    /// Sections 2.3 and 2.4. An attribute that is not known could have changed which key is meant.
    fn take(&mut self, name: &str, value: Vec<u8>, is_query: bool) -> Result<(), SigningKeyError> {
        let malformed = || SigningKeyError::ReferenceForm { form: FORM };
        let text = |value: Vec<u8>| String::from_utf8(value).map_err(|_| malformed());
        match (name, is_query) {
            ("token", false) => self.token = Some(text(value)?),
            ("manufacturer", false) => self.manufacturer = Some(text(value)?),
            ("model", false) => self.model = Some(text(value)?),
            ("serial", false) => self.serial = Some(text(value)?),
            ("slot-id", false) => self.slot = Some(text(value)?.parse().map_err(|_| malformed())?),
            ("object", false) => self.object = Some(value),
            ("id", false) => self.id = Some(value),
            ("type", false) if value == b"private" => {}
            ("module-path", true) => self.module = Some(text(value)?.into()),
            ("pin-source", true) => {
                let source = text(value)?;
                let path = source.strip_prefix("file://").or_else(|| source.strip_prefix("file:")).unwrap_or(&source);
                // `|command` of section 2.4 would run something.
                if path.is_empty() || path.starts_with('|') {
                    return Err(malformed());
                }
                self.pin_source = Some(path.into());
            }
            ("pin-value", true) => return Err(SigningKeyError::InlinePin),
            _ => return Err(malformed()),
        }
        Ok(())
    }

    /// The module: of the URI, or of the environment.
    pub(super) fn module(&self) -> Result<PathBuf, SigningKeyError> {
        if let Some(path) = &self.module {
            return Ok(path.clone());
        }
        for variable in ["HALLMARK_PKCS11_MODULE", "COSIGN_PKCS11_MODULE_PATH"] {
            if let Some(path) = env::read(variable)?.filter(|path| !path.is_empty()) {
                return Ok(PathBuf::from(path.as_str()));
            }
        }
        Err(self.failure(
            "no module is named",
            "add `?module-path=/path/to/module.so` to the reference, or set HALLMARK_PKCS11_MODULE",
        ))
    }

    /// The PIN: of the file that the URI names, or of the environment; `None` where there is neither.
    pub(super) fn pin(&self) -> Result<Option<Zeroizing<String>>, SigningKeyError> {
        if let Some(path) = &self.pin_source {
            let text = file::read(path)?;
            return Ok(Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())));
        }
        for variable in ["HALLMARK_PKCS11_PIN", "COSIGN_PKCS11_PIN"] {
            if let Some(pin) = env::read(variable)? {
                return Ok(Some(pin));
            }
        }
        Ok(None)
    }

    pub(super) fn failure(&self, problem: impl Into<String>, hint: &'static str) -> SigningKeyError {
        SigningKeyError::KeyStore { key: self.to_string(), problem: problem.into(), hint }
    }
}

/// Without the query: a path to a PIN is nobody's business.
impl fmt::Display for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.split('?').next().unwrap_or_default())
    }
}

impl fmt::Debug for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Percent-decoding (RFC 3986, section 2.1). Control characters are written as `%0A`, and are taken in no other form.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                decoded.push(high << 4 | low);
            }
            byte if byte.is_ascii_graphic() || byte == b' ' || !byte.is_ascii() => decoded.push(byte),
            _ => return None,
        }
    }
    Some(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Pkcs11Uri, SigningKeyError> {
        Pkcs11Uri::parse(text).unwrap()
    }

    #[test]
    fn the_attributes_of_rfc_7512_are_read() {
        let uri = parse(
            "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil;serial=1f;slot-id=3;object=my-key;\
             id=%69%95%3E;type=private?module-path=/lib/x.so&pin-source=file:/etc/token_pin",
        )
        .unwrap();
        assert_eq!(uri.token.as_deref(), Some("The Software PKCS#11 Softtoken"));
        assert_eq!(uri.manufacturer.as_deref(), Some("Snake Oil"));
        assert_eq!((uri.serial.as_deref(), uri.slot), (Some("1f"), Some(3)));
        assert_eq!((uri.object.as_deref(), uri.id.as_deref()), (Some(&b"my-key"[..]), Some(&b"i\x95>"[..])));
        assert_eq!(uri.module(), Ok("/lib/x.so".into()));
        assert_eq!(uri.pin_source, Some("/etc/token_pin".into()));
        assert!(!format!("{uri} {uri:?}").contains("token_pin"));
        assert!(Pkcs11Uri::parse("./pkcs11:object=x").is_none());
    }

    #[test]
    fn must_not_take_a_pin_from_the_command_line_nor_repeat_it() {
        let refusal = parse("pkcs11:object=a?pin-value=hunter2").unwrap_err();
        assert_eq!(refusal, SigningKeyError::InlinePin);
        assert!(!format!("{refusal} {refusal:?}").contains("hunter2"));
    }

    #[test]
    fn must_not_guess_which_key_is_meant() {
        for bad in [
            "pkcs11:",
            "pkcs11:token=a",
            "pkcs11:object",
            "pkcs11:object=a;object=b",
            "pkcs11:object=a;type=public",
            "pkcs11:object=a;colour=red",
            "pkcs11:object=a;module-path=/x",
            "pkcs11:object=a?object=b",
            "pkcs11:object=a?module-name=x",
            "pkcs11:object=a?pin-source=|cat%20/etc/pin",
            "pkcs11:object=a;slot-id=-1",
            "pkcs11:object=%4",
            "pkcs11:object=%zz",
            "pkcs11:object=a;token=%ff",
            &format!("pkcs11:object={}", "a".repeat(5000)),
        ] {
            assert!(matches!(parse(bad), Err(SigningKeyError::ReferenceForm { .. })), "{bad}");
        }
    }
}
