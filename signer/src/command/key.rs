//! `hallmark key`: make, import and look at keys.

use std::path::PathBuf;

use hallmark_policy::verify::PublicKey;
use serde::Serialize;

use crate::error::{Exit, Failure};
use crate::key::file::KeyFiles;
use crate::key::{KeyReference, KeyType, PrivateKey, SigningKeyError, cosign_format, import, passphrase};
use crate::output::{Format, Output, Style, Text};

/// What can be done with keys.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Make a new key pair, its private half encrypted
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(GenerateArguments),
    /// Bring a private key from elsewhere into an encrypted key file
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportArguments),
    /// Show a key's id, its kind, and how a trust policy names it
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArguments),
}

const GENERATE_EXAMPLES: &str = "\
The passphrase is asked for on the terminal, or comes from HALLMARK_PASSWORD or COSIGN_PASSWORD. The files are in \
cosign's format, and never replace any that are there.

Examples:
  hallmark key generate
  hallmark key generate --type ed25519 --output-key-prefix release
  HALLMARK_PASSWORD=... hallmark key generate --output-key-prefix keys/release-2026";

const IMPORT_EXAMPLES: &str = "\
PKCS#8 (`PRIVATE KEY`, `ENCRYPTED PRIVATE KEY`), SEC1 (`EC PRIVATE KEY`), PKCS#1 (`RSA PRIVATE KEY`) and cosign's own \
labels are read: ECDSA P-256 and P-384, Ed25519, RSA of 3072 and 4096 bits. A key that is encrypted keeps its \
passphrase; for others a new one is chosen. Of a key that is kept elsewhere only the public half is written, as \
PREFIX.pub.

Examples:
  hallmark key import --key old.pem --output-key-prefix release-2026
  hallmark key import --key env://OLD_KEY
  hallmark key import --key hashivault://release --output-key-prefix release
  hallmark key import --output-key-prefix release \\
      --key 'pkcs11:token=hsm;object=release?module-path=/usr/lib/softhsm/libsofthsm2.so'
  openssl pkey -in traditional.pem | hallmark key import --key /dev/stdin";

const INSPECT_EXAMPLES: &str = "\
A public key is read as it is; of a private one, which needs its passphrase, the public half is shown.

Examples:
  hallmark key inspect hallmark.pub
  hallmark key inspect env://RELEASE_KEY -o json";

#[derive(Debug, clap::Args)]
pub(super) struct GenerateArguments {
    /// The kind of the key
    #[arg(long = "type", value_enum, default_value = "p256", value_name = "TYPE")]
    kind: KeyType,
    /// Write PREFIX.key and PREFIX.pub
    #[arg(long, value_name = "PREFIX", default_value = "hallmark")]
    output_key_prefix: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportArguments {
    /// The private key: a file, env://VARIABLE, hashivault://NAME, or pkcs11:URI, of which the public half is written
    #[arg(long, value_name = "KEY")]
    key: String,
    /// Write PREFIX.key and PREFIX.pub
    #[arg(long, value_name = "PREFIX", default_value = "hallmark")]
    output_key_prefix: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct InspectArguments {
    /// The key, public or private: a file, env://VARIABLE, hashivault://NAME, or pkcs11:URI
    #[arg(value_name = "KEY")]
    key: String,
}

pub(super) fn run(verb: Verb, output: Output) -> Result<Exit, Failure> {
    match verb {
        Verb::Generate(arguments) => generate(&arguments, output),
        Verb::Import(arguments) => import_key(&arguments, output),
        Verb::Inspect(arguments) => inspect(&arguments, output),
    }
}

fn generate(arguments: &GenerateArguments, output: Output) -> Result<Exit, Failure> {
    let files = KeyFiles::of_prefix(&arguments.output_key_prefix)?;
    files.check_free()?;
    let passphrase = passphrase::chosen()?;
    let key = PrivateKey::generate(arguments.kind)?;
    files.write(&cosign_format::seal(&key, &passphrase)?, &key.public().to_pem())?;
    tell(&KeyReport::new("generated", key.public(), Some(&files)), output)
}

fn import_key(arguments: &ImportArguments, output: Output) -> Result<Exit, Failure> {
    let reference: KeyReference = arguments.key.parse()?;
    let files = KeyFiles::of_prefix(&arguments.output_key_prefix)?;
    if reference.is_managed() {
        return pin(&reference, &files, output);
    }
    files.check_free()?;
    let text = reference.read()?;
    let mut kept = None;
    let key = import(&text, || {
        let passphrase = passphrase::existing(&reference.to_string())?;
        kept = Some(passphrase.duplicate());
        Ok(passphrase)
    })?;
    let passphrase = match kept {
        Some(passphrase) => passphrase,
        None => passphrase::chosen()?,
    };
    files.write(&cosign_format::seal(&key, &passphrase)?, &key.public().to_pem())?;
    tell(&KeyReport::new("imported", key.public(), Some(&files)), output)
}

/// Writes down the public half of a key that is kept elsewhere, so that nobody needs to ask there to verify.
fn pin(reference: &KeyReference, files: &KeyFiles, output: Output) -> Result<Exit, Failure> {
    let public = reference.public_key()?;
    files.write_public(&public.to_pem())?;
    let mut report = KeyReport::new("pinned", &public, None);
    report.files.public = Some(files.public.display().to_string());
    tell(&report, output)
}

fn inspect(arguments: &InspectArguments, output: Output) -> Result<Exit, Failure> {
    let reference: KeyReference = arguments.key.parse()?;
    if reference.is_managed() {
        return tell(&KeyReport::new("managed", &reference.public_key()?, None), output);
    }
    let text = reference.read()?;
    if text.contains("PRIVATE KEY-----") {
        let key = import(&text, || passphrase::existing(&reference.to_string()))?;
        return tell(&KeyReport::new("private", key.public(), None), output);
    }
    let key = PublicKey::parse(text.as_bytes()).map_err(SigningKeyError::from)?;
    let mut report = KeyReport::new("public", &key, None);
    if let KeyReference::File(path) = &reference {
        report.files.public = Some(path.display().to_string());
    }
    tell(&report, output)
}

/// What is told about a key; its JSON form is part of the interface.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyReport {
    version: &'static str,
    #[serde(skip)]
    what: &'static str,
    /// SHA-256 of the SubjectPublicKeyInfo, in hex.
    key_id: String,
    /// The same in base64, as a Sigstore bundle's `publicKey.hint` has it.
    hint: String,
    kind: &'static str,
    files: FilesReport,
    /// PEM.
    public_key: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct FilesReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    private: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<String>,
}

impl KeyReport {
    fn new(what: &'static str, key: &PublicKey, files: Option<&KeyFiles>) -> Self {
        let files = files.map_or_else(FilesReport::default, |files| FilesReport {
            private: Some(files.private.display().to_string()),
            public: Some(files.public.display().to_string()),
        });
        Self {
            version: "hallmark.dev/key/v1",
            what,
            key_id: key.id().to_string(),
            hint: key.id().hint(),
            kind: key.kind().as_str(),
            files,
            public_key: key.to_pem(),
        }
    }

    fn text(&self) -> Text {
        let mut text = Text::new();
        text.parts([(Style::Good, self.what.to_owned()), (Style::Plain, format!(" {} key", self.kind))]);
        text.line(format!("  id       {}", self.key_id));
        if let Some(path) = &self.files.private {
            text.line(format!("  private  {path} (encrypted, readable by you only)"));
        }
        if let Some(path) = &self.files.public {
            text.line(format!("  public   {path}"));
        }
        text.line("");
        text.styled(Style::Faint, "To trust it, name it under `spec` of a trust policy:");
        text.line("");
        text.line("  authorities:");
        text.line("    - name: release-team");
        text.line("      keys:");
        match &self.files.public {
            Some(path) => text.line(format!("        - publicKey: {{file: {}}}", yaml_string(path))),
            None => {
                text.line("        - publicKey:");
                text.line("            pem: |");
                for line in self.public_key.lines() {
                    text.line(format!("              {line}"));
                }
            }
        }
        text
    }
}

fn tell(report: &KeyReport, output: Output) -> Result<Exit, Failure> {
    match output.format {
        Format::Json => output.json(report)?,
        Format::Text | Format::Cosign => output.text(&report.text())?,
    }
    Ok(Exit::Success)
}

/// A path as a YAML scalar: plain where nothing in it means anything to YAML, else in JSON's quotes, which YAML reads.
fn yaml_string(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-".contains(character);
    if text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/' || first == '.')
        && text.chars().all(plain)
    {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_break_the_yaml_that_is_shown() {
        assert_eq!(yaml_string("keys/release-2026.pub"), "keys/release-2026.pub");
        for path in ["a: b.pub", "my key.pub", "{x}.pub", "#.pub", "a\"b", "-x.pub", "2026.pub"] {
            assert_eq!(yaml_string(path), serde_json::to_string(path).unwrap(), "{path}");
        }
    }
}
