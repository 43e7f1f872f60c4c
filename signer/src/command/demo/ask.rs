//! One HTTP request to the service on loopback, as curl would send it.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::error::{Exit, Failure};

/// Most bytes of an answer; that about one image has about 1 KiB.
const MAX_ANSWER_BYTES: u64 = 1024 * 1024;
/// Longest time for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks for verdicts.
pub(super) fn verdict(service: SocketAddr, question: &str) -> Result<Value, Failure> {
    let failure = |problem: String| {
        Failure::new(
            Exit::Unexpected,
            format!("the service on {service} gave no verdict: {problem}"),
            "run the demo again",
        )
    };
    let answer = post(service, "/v1/verdicts", question).map_err(|error| failure(error.to_string()))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| failure("its answer is cut short".to_owned()))?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        return Err(failure(format!("it answers `{status}`: {body}")));
    }
    serde_json::from_str(body).map_err(|error| failure(error.to_string()))
}

fn post(service: SocketAddr, path: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&service, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {service}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}
