//! SPIFFE Workload API: a JWT-SVID of this workload (`FetchJWTSVID`), over gRPC on a socket of this machine.
//!
//! One message is asked and one is answered, so that the few fields are written and read here (Protocol Buffers encoding,
//! gRPC over HTTP/2, "Length-Prefixed-Message").

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, TE};
use reqwest::{Client, Method, Url};
use zeroize::Zeroizing;

use super::{MAX_ANSWER_BYTES, variable};
use crate::error::{Exit, Failure};
use crate::sigstore::http::{Http, Problem, Question};

/// Where the Workload API is (SPIFFE Workload Endpoint, section 4): `unix:///path` or `tcp://127.0.0.1:port`.
pub(super) const SOCKET: &str = "SPIFFE_ENDPOINT_SOCKET";
const WHO: &str = "the SPIFFE Workload API";
const HINT: &str = "check SPIFFE_ENDPOINT_SOCKET, and that this workload is registered";
/// How long an agent that is starting is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A token for an audience.
pub(super) async fn token(audience: &str) -> Result<Zeroizing<String>, Failure> {
    let failure = |problem: &str| Failure::new(Exit::Unexpected, format!("{WHO}: {problem}"), HINT);
    let socket = variable(SOCKET).ok_or_else(|| failure("SPIFFE_ENDPOINT_SOCKET is not set"))?;
    let builder = Client::builder().http2_prior_knowledge().no_proxy();
    let (builder, authority) = match (socket.strip_prefix("unix:"), socket.strip_prefix("tcp://")) {
        (Some(path), _) => (builder.unix_socket(format!("/{}", path.trim_start_matches('/'))), "localhost"),
        (_, Some(address)) => (builder, address),
        _ => return Err(failure("SPIFFE_ENDPOINT_SOCKET is neither `unix:///path` nor `tcp://address:port`")),
    };
    let url = format!("http://{authority}/SpiffeWorkloadAPI/FetchJWTSVID");
    let url = Url::parse(&url).ok().filter(|url| crate::sigstore::http::address(url.as_str(), "it").is_ok());
    let url = url.ok_or_else(|| failure("SPIFFE_ENDPOINT_SOCKET names no address of this machine"))?;
    let headers = HeaderMap::from_iter([
        (TE, HeaderValue::from_static("trailers")),
        // Without it the agent refuses: it keeps requests that were tricked out of others away.
        (HeaderName::from_static("workload.spiffe.io"), HeaderValue::from_static("true")),
    ]);
    let question = Question {
        method: Method::POST,
        url: url.clone(),
        headers,
        body: Some(("application/grpc", framed(&field(1, audience.as_bytes())))),
        accepted: &[200],
        most: MAX_ANSWER_BYTES,
        secret: None,
    };
    let answer = Http::of(builder, PATIENCE)?.ask(&question).await.map_err(|problem| problem.of(WHO, &url, HINT))?;
    let body = Zeroizing::new(answer.body);
    let token = first_svid(&body).ok_or_else(|| {
        Problem::Broken("it has no token for this workload and the audience".to_owned()).of(WHO, &url, HINT)
    })?;
    Ok(Zeroizing::new(token))
}

/// A message with its length, not compressed.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// A field of bytes.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = value.len();
    while length > 0x7f {
        field.push(u8::try_from(length & 0x7f).unwrap_or(0x7f) | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).unwrap_or(0x7f));
    field.extend_from_slice(value);
    field
}

/// `svids[0].svid` of a `JWTSVIDResponse`.
fn first_svid(body: &[u8]) -> Option<String> {
    let (flag, rest) = body.split_first()?;
    let (length, message) = rest.split_first_chunk::<4>()?;
    let message = message.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let svid = bytes_of(if *flag == 0 { message } else { return None }, 1)?;
    std::str::from_utf8(bytes_of(svid, 2)?).ok().map(str::to_owned)
}

/// The first field of bytes with this number.
fn bytes_of(mut message: &[u8], number: u64) -> Option<&[u8]> {
    while !message.is_empty() {
        let (tag, rest) = varint(message)?;
        message = match tag & 7 {
            0 => varint(rest)?.1,
            1 => rest.get(8..)?,
            2 => {
                let (length, rest) = varint(rest)?;
                let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                if tag >> 3 == number {
                    return Some(value);
                }
                rest
            }
            5 => rest.get(4..)?,
            _ => return None,
        };
    }
    None
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    let mut rest = bytes;
    for shift in (0..64).step_by(7) {
        let (first, others) = rest.split_first()?;
        rest = others;
        value |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_read_and_a_broken_one_is_not() {
        let token = "e30.".repeat(80);
        let svid = [field(1, b"spiffe://example.org/build"), field(2, token.as_bytes()), field(3, b"")].concat();
        let response = framed(&[field(1, &svid), field(1, b"another")].concat());
        assert_eq!(first_svid(&response).as_deref(), Some(token.as_str()));
        for end in 0..response.len() - 10 {
            assert_eq!(first_svid(&response[..end]), None, "{end}");
        }
        let compressed = [&[1], &response[1..]].concat();
        assert_eq!(first_svid(&compressed), None);
        assert_eq!(first_svid(&framed(&field(1, &field(1, b"spiffe://example.org/build")))), None);
        assert_eq!(first_svid(&[0, 0xff, 0xff, 0xff, 0xff, 10]), None);
        assert_eq!(framed(&field(1, b"sigstore")), *b"\0\0\0\0\x0a\x0a\x08sigstore");
    }
}
