//! DSSE, the Dead Simple Signing Envelope (DSSE protocol v1.0.2).

/// The bytes that a DSSE signature is over (DSSE protocol, "Signature Definition"):
/// `"DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`, lengths in ASCII decimal.
#[must_use]
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let header = format!("DSSEv1 {} {} {} ", payload_type.len(), payload_type, payload.len());
    let mut message = header.into_bytes();
    message.extend_from_slice(payload);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_encodes() {
        let message = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(message, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn sigstore_types_agrees_on_every_length() {
        for length in [0_usize, 1, 9, 10, 99, 100, 1000] {
            let payload = vec![b'x'; length];
            assert_eq!(pre_authentication_encoding("t", &payload), sigstore_types::pae("t", &payload));
        }
    }
}
