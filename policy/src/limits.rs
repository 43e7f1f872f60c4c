//! Every bound on what comes from outside, each with where its number came from.
//!
//! A bound that is met rejects the item that meets it, with `limit-exceeded`; it never turns into "unsigned".

/// Most signature artifacts (referrers, or layers of a `.sig` manifest) that are looked at for one image.
/// containers/image looks at 128 lookaside signatures, notation at 100.
pub const MAX_SIGNATURES: usize = 128;

/// Most bytes of one manifest or index. 4 MiB in notation, containers/image and the OCI distribution specification.
pub const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;

/// Most bytes of one signature blob. containers/image: 4 MiB.
pub const MAX_SIGNATURE_BYTES: usize = 4 * 1024 * 1024;

/// Most bytes of one attestation where a rule or a command asks for its type: an SBOM of a large image has 5 to 20 MiB, of
/// which base64 makes a third more. cosign takes 128 MiB, which nobody could hold for many images at once.
pub const MAX_ATTESTATION_BYTES: usize = 32 * 1024 * 1024;

/// Most bytes of all attestations of one image, its children included, that are larger than [`MAX_SIGNATURE_BYTES`]: an SBOM
/// in each of two formats.
pub const MAX_LARGE_BYTES: usize = 2 * MAX_ATTESTATION_BYTES;

/// How many bytes of what was signed count as one more signature check ([`MAX_SIGNATURE_CHECKS`]): each key that is tried
/// hashes all of them, and so does each log entry. So no more than 1 GiB is hashed for one image.
pub const CHECKED_BYTES: usize = 256 * 1024;

/// Most bytes of a blob that is carried inside a descriptor (`data`): keeps a manifest well below
/// [`MAX_MANIFEST_BYTES`]; registries refuse large manifests.
pub const MAX_INLINE_BYTES: usize = 64 * 1024;

/// Most children of one index that are looked at for one verdict, each with evidence of its own. Official images have up
/// to 20, for as many platforms.
pub const MAX_CHILDREN: usize = 64;

/// Most bytes of all the evidence about one image: 128 signatures of a usual size leave room to spare.
pub const MAX_EVIDENCE_BYTES: usize = 32 * 1024 * 1024;

/// Most rejected items of one image that are listed one by one: every listed manifest can have its own. What is beyond
/// is counted. A listed manifest may name 128 layers, so without this bound one image could have 32,896.
pub const MAX_REJECTIONS: usize = 512;

/// Most subjects of one in-toto statement. sigstore-go: 1,024.
pub const MAX_SUBJECTS: usize = 1024;

/// Most annotations of one image in a signed payload: far more than anybody writes by hand.
pub const MAX_ANNOTATIONS: usize = 64;
/// Most bytes of one annotation's key or value.
pub const MAX_ANNOTATION_BYTES: usize = 4096;

/// Most signature checks (one key against one signature) for one image: 128 signatures against 32 keys, about 0.2 s for
/// P-256. Keys of other kinds are tried with two algorithms, and P-384 costs several times as much.
pub const MAX_SIGNATURE_CHECKS: usize = 4096;

/// Most RFC 3161 timestamps of one signature. sigstore-go: 32.
pub const MAX_TIMESTAMPS: usize = 32;

/// Most bytes of one timestamp. Real ones have 1 to 8 KiB, with the authority's certificates.
pub const MAX_TIMESTAMP_BYTES: usize = 32 * 1024;

/// Most certificates of an authority's chain, and of one timestamp. Real chains have 1 to 4.
pub const MAX_CHAIN_CERTIFICATES: usize = 8;

/// Most timestamp authorities of one document, and most chains of one authority.
pub const MAX_TIMESTAMP_AUTHORITIES: usize = 32;

/// Most checks (one timestamp against one chain) for one image: two signature checks each, about 0.2 s in all.
pub const MAX_TIMESTAMP_CHECKS: usize = 1024;

/// Most bytes of one trust policy document. A Kubernetes object has at most 1.5 MB.
pub const MAX_POLICY_BYTES: usize = 2 * 1024 * 1024;

/// Most rules in one document: goal G8 measures with 10,000.
pub const MAX_RULES: usize = 20_000;

/// Most keys in one document.
pub const MAX_KEYS: usize = 20_000;

/// Most bytes of a public key file.
pub const MAX_PUBLIC_KEY_BYTES: usize = 64 * 1024;

/// Most characters of remote text that a message repeats.
pub const MAX_QUOTED_CHARS: usize = 200;

/// Most transparency log entries of one bundle. sigstore-go: 32.
pub const MAX_LOG_ENTRIES: usize = 32;

/// Most bytes of one log entry's body: it may hold a whole DSSE envelope in old ones.
pub const MAX_LOG_BODY_BYTES: usize = 1024 * 1024;

/// Most bytes of a checkpoint. Real ones have less than 1 KiB, with several witnesses.
pub const MAX_CHECKPOINT_BYTES: usize = 16 * 1024;

/// Most signatures of a checkpoint that name the log's own key, each of which is one check. Real ones have 1; a log that
/// changes its key may have 2 for a while. Those of witnesses are not looked at.
pub const MAX_CHECKPOINT_SIGNATURES: usize = 4;

/// Most signature checks of one log entry: its promise, and its checkpoint.
pub const MAX_LOG_ENTRY_CHECKS: usize = 1 + MAX_CHECKPOINT_SIGNATURES;

/// Most nodes of an inclusion proof: a log index has 63 bits.
pub const MAX_PROOF_NODES: usize = 64;

/// Most bytes of a signing certificate. Real ones have 1 to 2 KiB.
pub const MAX_CERTIFICATE_BYTES: usize = 32 * 1024;

/// Most extensions of one certificate: each is held against the others. Real ones have up to 30.
pub const MAX_CERTIFICATE_EXTENSIONS: usize = 64;

/// Most bytes of a trusted root document. The public-good one has 7 KiB.
pub const MAX_TRUSTED_ROOT_BYTES: usize = 1024 * 1024;

/// Most authorities or logs of one kind in a trusted root, and most certificate timestamps of one certificate.
pub const MAX_TRUST_ANCHORS: usize = 64;

/// Most findings of one scan, and most statements of one VEX document. Large images have about 5,000.
pub const MAX_FINDINGS: usize = 20_000;

/// Most trust roots that one document carries: instances of Sigstore whose signatures it takes.
pub const MAX_TRUST_ROOTS: usize = 16;

/// Most identities in certificates in one document; each pair that a rule names is held against each other.
pub const MAX_IDENTITIES: usize = 1_000;
