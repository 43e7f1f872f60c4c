//! Flags and verbs of cosign that mean nothing here, each answered by what to do instead.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::{Exit, Failure};

const LOG: &str = "`sign` and `attest` use a transparency log when `--rekor-url` or `--signing-config` names one, or no key signs; leave the flag out";
const SIGNING: &str = "`sign`, `attest` and `sign-bundle` take it; the other verbs ask no such service";
const KEYLESS: &str = "who signs is told by its token; see `hallmark sign --help`";
const ROOT: &str = "give whom to believe as a whole: `--trusted-root trusted_root.json`";
const CERTIFICATE: &str =
    "certificates are found beside the signature; say whom they must be about: `--certificate-identity`";
const DEMANDS: &str =
    "say who must vouch instead: `--require-logs`, `--require-timestamps`, `--require-certificate-logs`";
const PASSPHRASE: &str =
    "set `HALLMARK_PASSWORD` (or `COSIGN_PASSWORD`) in the environment; secrets never come from the command line";
const CREDENTIALS: &str = "log in with `docker login`; credentials are read from Docker's configuration";
const DEVICE: &str = "name the key with `--key`: a file, env://VARIABLE, hashivault://NAME, or pkcs11:URI";

/// Flag of cosign, and what to do instead.
const FLAGS: [(&str, &str); 46] = [
    ("--allow-insecure-bundle", "bundles are always verified; leave the flag out"),
    ("--attachment", "attachments are artifacts of their own: name them by digest"),
    ("--attachment-tag-prefix", "the tag is always `sha256-<hex>.sig`; leave the flag out"),
    ("--bundle", "use `--output-bundle FILE`"),
    ("--ca-intermediates", ROOT),
    ("--ca-roots", ROOT),
    ("--certificate", CERTIFICATE),
    ("--certificate-chain", CERTIFICATE),
    ("--check-claims", "what was signed is always compared with the image; leave the flag out"),
    ("--experimental-oci11", "the referrers API is always used where the registry has one; leave the flag out"),
    ("--fulcio-auth-flow", SIGNING),
    ("--fulcio-url", SIGNING),
    ("--identity-token", SIGNING),
    ("--insecure-ignore-sct", DEMANDS),
    ("--insecure-ignore-tlog", DEMANDS),
    ("--insecure-skip-verify", "certificates are always verified; give the registry's own with `--registry-ca-cert`"),
    ("--issue-certificate", KEYLESS),
    ("--k8s-keychain", CREDENTIALS),
    ("--kms", DEVICE),
    ("--local-image", "push the image first; signatures are kept beside it in the registry"),
    ("--max-workers", "all places are asked at once; leave the flag out"),
    ("--new-bundle-format", "bundles are the default; for cosign's older form use `--format simple-signing`"),
    (
        "--offline",
        "verify a recording instead: `hallmark evidence fetch IMAGE -d DIR`, then `hallmark verify IMAGE --evidence DIR`",
    ),
    ("--oidc-client-id", SIGNING),
    ("--oidc-client-secret-file", "log in as a public client: `--oidc-client-id` names it, and it has no secret"),
    ("--oidc-issuer", SIGNING),
    ("--oidc-provider", SIGNING),
    ("--oidc-redirect-url", SIGNING),
    ("--output-certificate", KEYLESS),
    ("--output-payload", "use `--output-bundle FILE`"),
    ("--output-signature", "use `--output-bundle FILE`"),
    ("--pass", PASSPHRASE),
    ("--passphrase", PASSPHRASE),
    ("--password", PASSPHRASE),
    ("--payload", "the payload is always made from the image; leave the flag out"),
    ("--private-infrastructure", LOG),
    ("--recursive", "`sign` and `attest` take it; the other verbs look at the digest that was asked for"),
    ("--registry-password", CREDENTIALS),
    (
        "--registry-referrers-mode",
        "the referrers API is used where the registry has one, and the fallback tag elsewhere",
    ),
    ("--registry-token", CREDENTIALS),
    ("--registry-username", CREDENTIALS),
    ("--rekor-url", SIGNING),
    ("--signature", "signatures are looked up in the registry; leave the flag out"),
    ("--sk", DEVICE),
    ("--tlog-upload", LOG),
    ("--upload", "use `--dry-run` to see what would be written"),
];

/// Further flags whose whole family has one answer.
const FLAG_FAMILIES: [(&str, &str); 3] = [("--signing-config", SIGNING), ("--timestamp-", LOG), ("--use-sign", LOG)];

/// Verb of cosign or of a later version, and what to do instead.
const VERBS: [(&str, &str); 15] = [
    ("attach", "signatures are attached by `hallmark sign`"),
    ("clean", "remove signatures with your registry's own tools"),
    ("copy", "copy the image and its referrers with `oras copy -r` or `cosign copy`"),
    ("dockerfile", "name the images: `hallmark verify IMAGE...`"),
    ("download", "use `hallmark evidence fetch IMAGE -d DIR`"),
    ("generate", "use `hallmark sign --dry-run IMAGE`"),
    ("generate-key-pair", "use `hallmark key generate`"),
    ("import-key-pair", "use `hallmark key import --key FILE`"),
    ("initialize", "there is nothing to initialize: trust is what `--key` and `--policy` name"),
    ("login", "log in with `docker login`; its credentials are used"),
    ("public-key", "use `hallmark key inspect KEY`"),
    ("sign-blob", "use `hallmark sign-bundle --bundle BUNDLE FILE`"),
    ("tree", "use `hallmark inspect IMAGE`"),
    ("triangulate", "use `hallmark inspect IMAGE`"),
    ("verify-blob", "use `hallmark verify-bundle --bundle BUNDLE FILE`"),
];

/// The answer to an unknown flag or verb that cosign has.
pub(super) fn failure(error: &clap::Error) -> Option<Failure> {
    let (kind, what) = match error.kind() {
        ErrorKind::UnknownArgument => (ContextKind::InvalidArg, "flag"),
        ErrorKind::InvalidSubcommand => (ContextKind::InvalidSubcommand, "verb"),
        _ => return None,
    };
    let ContextValue::String(given) = error.get(kind)? else { return None };
    // Whatever stands behind `=` may be a secret and is not repeated.
    let name = given.split('=').next().unwrap_or_default();
    let hint = match what {
        "verb" => find(&VERBS, name),
        _ if name == "-r" => find(&FLAGS, "--recursive"),
        _ => find(&FLAGS, name)
            .or_else(|| FLAG_FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, hint)| *hint)),
    }?;
    Some(Failure::new(Exit::Usage, format!("the {what} `{name}` has no meaning here"), hint))
}

fn find(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == name).map(|(_, hint)| *hint)
}
