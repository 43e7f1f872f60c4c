//! RSA as RFC 8017 writes it, in numbers of RustCrypto's `crypto-bigint`: the second opinion on what aws-lc verifies.

use aws_lc_rs::digest::{SHA256, digest};
use p256::elliptic_curve::bigint::modular::runtime_mod::{DynResidue, DynResidueParams};
use p256::elliptic_curve::bigint::{Encoding as _, U2048, U4096};

/// An RSA key.
pub(crate) struct TextbookKey {
    modulus: Vec<u8>,
    exponent: u64,
    field: Field,
}

/// What is computed once a key.
enum Field {
    Small(Box<DynResidueParams<{ U2048::LIMBS }>>),
    Large(Box<DynResidueParams<{ U4096::LIMBS }>>),
}

impl TextbookKey {
    /// The key of an `RSAPublicKey` (RFC 8017, appendix A.1.1) of at most 4096 bits.
    pub(crate) fn new(key: &[u8]) -> Self {
        let (modulus, exponent) = numbers(key);
        let field = if modulus.len() <= 256 {
            Field::Small(Box::new(DynResidueParams::new(&U2048::from_be_slice(&padded(&modulus, 256)))))
        } else {
            Field::Large(Box::new(DynResidueParams::new(&U4096::from_be_slice(&padded(&modulus, 512)))))
        };
        Self { modulus, exponent, field }
    }

    /// Whether a signature verifies as PKCS #1 v1.5 or as PSS with a salt of 32 bytes, with SHA-256.
    pub(crate) fn takes(&self, message: &[u8], signature: &[u8]) -> bool {
        let Some(encoded) = self.power(signature) else { return false };
        let bits = self.modulus.len() * 8 - usize::try_from(self.modulus[0].leading_zeros()).unwrap();
        encoded == pkcs1_v1_5(message, self.modulus.len()) || is_pss(message, &encoded, bits - 1)
    }

    /// Section 5.2.2. The result has the length of the modulus.
    fn power(&self, signature: &[u8]) -> Option<Vec<u8>> {
        const EXPONENT_BITS: usize = 32;
        let length = self.modulus.len();
        if signature.len() != length || signature >= &self.modulus[..] {
            return None;
        }
        let power = match &self.field {
            Field::Small(parameters) => {
                let number = DynResidue::new(&U2048::from_be_slice(&padded(signature, 256)), **parameters);
                number.pow_bounded_exp(&U2048::from_u64(self.exponent), EXPONENT_BITS).retrieve().to_be_bytes().to_vec()
            }
            Field::Large(parameters) => {
                let number = DynResidue::new(&U4096::from_be_slice(&padded(signature, 512)), **parameters);
                number.pow_bounded_exp(&U4096::from_u64(self.exponent), EXPONENT_BITS).retrieve().to_be_bytes().to_vec()
            }
        };
        Some(power[power.len() - length..].to_vec())
    }
}

fn padded(bytes: &[u8], length: usize) -> Vec<u8> {
    [&vec![0; length - bytes.len()][..], bytes].concat()
}

/// Section 9.2: `00 01 FF ... FF 00 DigestInfo`.
fn pkcs1_v1_5(message: &[u8], length: usize) -> Vec<u8> {
    let info = [
        &[
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0, 0x04,
            0x20,
        ][..],
        digest(&SHA256, message).as_ref(),
    ]
    .concat();
    [&[0, 1][..], &vec![0xff; length - info.len() - 3], &[0], &info].concat()
}

/// Section 9.1.2, with SHA-256, MGF1 with SHA-256, and a salt of 32 bytes.
fn is_pss(message: &[u8], encoded: &[u8], bits: usize) -> bool {
    let length = bits.div_ceil(8);
    let (surplus, encoded) = encoded.split_at(encoded.len() - length);
    if surplus.iter().any(|byte| *byte != 0) || encoded.last() != Some(&0xbc) {
        return false;
    }
    let (masked, rest) = encoded.split_at(length - 33);
    let hash = &rest[..32];
    let unused = 8 * length - bits;
    if masked[0].leading_zeros() < u32::try_from(unused).unwrap() {
        return false;
    }
    let mut block: Vec<u8> = masked.iter().zip(mask(hash, masked.len())).map(|(byte, mask)| byte ^ mask).collect();
    block[0] &= 0xff >> unused;
    let (padding, salt) = block.split_at(block.len() - 32);
    let is_padding = padding.split_last().is_some_and(|(one, zeros)| *one == 1 && zeros.iter().all(|byte| *byte == 0));
    let salted = [&[0; 8][..], digest(&SHA256, message).as_ref(), salt].concat();
    is_padding && digest(&SHA256, &salted).as_ref() == hash
}

/// MGF1 (appendix B.2.1).
fn mask(seed: &[u8], length: usize) -> Vec<u8> {
    let block = |counter: u32| digest(&SHA256, &[seed, &counter.to_be_bytes()].concat()).as_ref().to_vec();
    (0..).flat_map(block).take(length).collect()
}

/// Modulus and exponent, without the zeros in front.
fn numbers(key: &[u8]) -> (Vec<u8>, u64) {
    use p256::pkcs8::der::{Reader as _, SliceReader, asn1::UintRef};
    let mut reader = SliceReader::new(key).unwrap();
    let parts =
        reader.sequence(|fields| Ok((fields.decode::<UintRef<'_>>()?, fields.decode::<UintRef<'_>>()?))).unwrap();
    let exponent = parts.1.as_bytes().iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    (parts.0.as_bytes().to_vec(), exponent)
}
