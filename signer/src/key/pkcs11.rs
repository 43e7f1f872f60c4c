//! Keys on PKCS #11 tokens: hardware security modules, smart cards, SoftHSM (`pkcs11:` URIs, RFC 7512).
//!
//! The module is loaded into this process, so it is the user who names it. Digests are computed here and signed there;
//! Ed25519 signs messages. Sessions are opened when they are needed and kept for the next signature.

mod object;
mod uri;

use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use futures_util::future::{BoxFuture, FutureExt as _};
use hallmark_policy::verify::{KeyKind, PublicKey};
use tokio::sync::Semaphore;

pub(super) use self::uri::Pkcs11Uri;
use super::{Algorithm, ManagedKey, SigningKey, SigningKeyError, passphrase};

/// Most sessions of one key at one time. Small tokens have room for ten or so.
const MAX_SESSIONS: usize = 8;

impl Pkcs11Uri {
    /// The key, ready to sign. Asks for the PIN where none is at hand.
    pub(super) fn open(&self) -> Result<SigningKey, SigningKeyError> {
        let token = Token::find(self)?;
        let session = token.session(self)?;
        token.log_in(&session, self)?;
        let private = object::private_key(&session, self)?;
        let public = object::public_key_of(&session, private, self)?;
        if public.kind() == KeyKind::Rsa2048 {
            return Err(SigningKeyError::UnsupportedKind { kind: public.kind().as_str().to_owned() });
        }
        let kind = public.kind();
        let (idle, room) = (Mutex::new(vec![session]), Semaphore::new(MAX_SESSIONS));
        let key = TokenKey(Arc::new(Shared { idle, room, token, private, kind, uri: self.clone() }));
        Ok(SigningKey::managed(public, Box::new(key)))
    }

    /// The public half. Most tokens show it to everybody; the PIN is needed where one does not.
    pub(super) fn public_key(&self) -> Result<PublicKey, SigningKeyError> {
        let token = Token::find(self)?;
        let session = token.session(self)?;
        if let Some(public) = object::public_key(&session, self)? {
            return Ok(public);
        }
        token.log_in(&session, self)?;
        let private = object::private_key(&session, self)?;
        object::public_key_of(&session, private, self)
    }
}

/// A token, and the module that leads to it.
struct Token {
    module: Pkcs11,
    slot: Slot,
}

impl Token {
    /// The one token that the URI describes.
    fn find(uri: &Pkcs11Uri) -> Result<Self, SigningKeyError> {
        let path = uri.module()?;
        let hint = "check the path of the module, and that it is for this machine's architecture and C library";
        let module = Pkcs11::new(&path).map_err(|error| {
            let problem = format!("the module `{}` cannot be loaded: {error}", path.display());
            uri.failure(problem, hint)
        })?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(uri.failure(problem(&error), "check the configuration of the module")),
        }
        let slots = module.get_slots_with_token().map_err(|error| failed(uri, &error))?;
        let mut found = Vec::new();
        for slot in slots {
            if uri.slot.is_some_and(|wanted| wanted != slot.id()) {
                continue;
            }
            // A slot whose token was taken away in this moment is none.
            let Ok(info) = module.get_token_info(slot) else { continue };
            let is = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is.trim_end());
            if is(&uri.token, info.label())
                && is(&uri.manufacturer, info.manufacturer_id())
                && is(&uri.model, info.model())
                && is(&uri.serial, info.serial_number())
                && info.token_initialized()
            {
                found.push(slot);
            }
        }
        match found.as_slice() {
            [slot] => Ok(Self { module, slot: *slot }),
            [] => {
                Err(uri
                    .failure("there is no such token", "check `token` in the reference, and that the token is there"))
            }
            _ => Err(uri.failure(
                "several tokens are like that",
                "name the one you mean by `serial`, or by `slot-id`, in the reference",
            )),
        }
    }

    fn session(&self, uri: &Pkcs11Uri) -> Result<Session, SigningKeyError> {
        self.module.open_ro_session(self.slot).map_err(|error| failed(uri, &error))
    }

    /// Once a run: a login is one of the whole program. A PIN that is wrong is never tried again, because a few wrong ones
    /// lock a token.
    fn log_in(&self, session: &Session, uri: &Pkcs11Uri) -> Result<(), SigningKeyError> {
        let info = self.module.get_token_info(self.slot).map_err(|error| failed(uri, &error))?;
        if !info.login_required() {
            return Ok(());
        }
        let pin = match (info.protected_authentication_path(), uri.pin()?) {
            (true, None) => None,
            (_, Some(pin)) => Some(AuthPin::from(pin.as_str().to_owned())),
            (false, None) => {
                let pin = passphrase::pin(&uri.to_string())?;
                Some(AuthPin::from(pin.as_str().to_owned()))
            }
        };
        match session.login(UserType::User, pin.as_ref()) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => Err(uri
                .failure(
                    "the token does not take the PIN",
                    "check HALLMARK_PKCS11_PIN, or the file of `pin-source`; a token is locked after a few wrong PINs",
                )),
            Err(Error::Pkcs11(RvError::PinLocked, _)) => {
                Err(uri.failure("the token is locked after wrong PINs", "have its security officer unlock it"))
            }
            Err(error) => Err(failed(uri, &error)),
        }
    }
}

/// A private key on a token.
struct TokenKey(Arc<Shared>);

struct Shared {
    /// Sessions that nobody uses now. They are closed before the module is let go.
    idle: Mutex<Vec<Session>>,
    room: Semaphore,
    token: Token,
    private: ObjectHandle,
    kind: KeyKind,
    uri: Pkcs11Uri,
}

impl Shared {
    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, SigningKeyError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let session = match idle {
            Some(session) => session,
            None => self.token.session(&self.uri)?,
        };
        let digest = algorithm.digest(message);
        let (mechanism, input) = object::mechanism(algorithm, digest.as_ref().map_or(message, AsRef::as_ref));
        // A session in which something failed may be in the middle of it, and is not used again.
        let raw = session.sign(&mechanism, self.private, &input).map_err(|error| failed(&self.uri, &error))?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        object::signature(self.kind, raw).ok_or_else(|| {
            self.uri.failure("what the token calls a signature is none", "check the token and its module")
        })
    }
}

impl ManagedKey for TokenKey {
    fn sign<'a>(&'a self, algorithm: Algorithm, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SigningKeyError>> {
        async move {
            let stopped = |_| self.0.uri.failure("the program is ending", "run it again");
            let _room = self.0.room.acquire().await.map_err(stopped)?;
            let (shared, message) = (Arc::clone(&self.0), message.to_vec());
            // A token may take its time, and others must not wait for it.
            let work = tokio::task::spawn_blocking(move || shared.sign(algorithm, &message));
            work.await.map_err(|_| self.0.uri.failure("the module failed", "check the token and its module"))?
        }
        .boxed()
    }
}

fn failed(uri: &Pkcs11Uri, error: &Error) -> SigningKeyError {
    uri.failure(problem(error), "check the token, the permissions of its key, and the configuration of its module")
}

/// The function and the name of the return value, without the essay.
fn problem(error: &Error) -> String {
    match error {
        Error::Pkcs11(value, function) => format!("the module's {function} answers {value:?}"),
        other => other.to_string(),
    }
}
