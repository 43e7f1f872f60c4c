//! Sends one request and reads its response against a limit.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use ::http::{Method, Version};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::clients::Clients;
use super::stream::{Incoming, Transfer, sent_already};
use super::{Failure, Request, Response, Transport};
use crate::address::Refused;
use crate::configuration::{Configuration, ConfigurationError};
use crate::quote::quote_error;

/// Most bytes that are read of an error's body; the rest says nothing more.
const MAX_ERROR_BYTES: usize = 16 * 1024;

/// Sends requests.
pub(super) struct Http {
    clients: Arc<Clients>,
    request_timeout: Duration,
    write_timeout: Duration,
}

impl Http {
    pub(super) fn new(configuration: &Configuration) -> Result<Self, ConfigurationError> {
        let (request_timeout, write_timeout) = (configuration.request_timeout, configuration.operation_timeout);
        Ok(Self { clients: Arc::new(Clients::new(configuration)?), request_timeout, write_timeout })
    }

    pub(super) fn clients(&self) -> Arc<Clients> {
        Arc::clone(&self.clients)
    }

    async fn send_in_time(&self, request: &Request) -> Result<Response, Failure> {
        // Writes carry the blob up and wait for the registry's storage: they may take as long as an operation. Its
        // deadline may be much later, where a registry that asks for less traffic is waited for.
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        let timeout = if is_read { self.request_timeout } else { self.write_timeout };
        let until = match request.transfer {
            // The time that a blob may take goes by its size, and is in its deadline.
            Transfer::Upload(_) => request.deadline,
            Transfer::Download(_) | Transfer::Whole => request.deadline.min(Instant::now() + timeout),
        };
        match tokio::time::timeout_at(until.into(), self.exchange(request)).await {
            Ok(result) => result,
            Err(_) if until == request.deadline => Err(Failure::Deadline),
            Err(_) => Err(Failure::Timeout),
        }
    }

    async fn exchange(&self, request: &Request) -> Result<Response, Failure> {
        let client = self.clients.choose(&request.endpoint, &request.url)?;
        let mut outgoing = client
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if !matches!(request.method, Method::GET | Method::HEAD) {
            outgoing = match &request.transfer {
                Transfer::Upload(slot) => {
                    let upload = slot.take().ok_or_else(sent_already)?;
                    outgoing.header(CONTENT_LENGTH, upload.size).body(upload.into_body())
                }
                Transfer::Whole | Transfer::Download(_) => {
                    outgoing.header(CONTENT_LENGTH, request.body.len()).body(request.body.clone())
                }
            };
        }
        let response = outgoing.send().await.map_err(connection)?;
        read(request, response).await
    }
}

impl Transport for Http {
    fn send<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>> {
        self.send_in_time(request).boxed()
    }
}

async fn read(request: &Request, mut response: reqwest::Response) -> Result<Response, Failure> {
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let is_framed = response.version() == Version::HTTP_2
        || headers.contains_key(CONTENT_LENGTH)
        || headers.contains_key(TRANSFER_ENCODING);
    let body = if request.method == Method::HEAD {
        Bytes::new()
    } else if status.is_success() {
        let coding = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
        if coding.is_some_and(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")) {
            return Err(Failure::Inconsistent("the body is compressed, which was not asked for".to_owned()));
        }
        if let Transfer::Download(slot) = &request.transfer {
            slot.put(Incoming::new(response, request.deadline));
            return Ok(Response { status, headers, body: Bytes::new(), is_framed });
        }
        read_body(&mut response, &headers, request.limit).await?
    } else {
        // The status already says what is wrong; the body only helps to explain it.
        read_error_body(&mut response).await
    };
    Ok(Response { status, headers, body, is_framed })
}

async fn read_body(
    response: &mut reqwest::Response,
    headers: &::http::HeaderMap,
    limit: usize,
) -> Result<Bytes, Failure> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| usize::try_from(length).is_ok_and(|length| length > limit)) {
        return Err(Failure::TooLarge { limit });
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(connection)? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(Failure::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

async fn read_error_body(response: &mut reqwest::Response) -> Bytes {
    let mut body = BytesMut::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_ERROR_BYTES.saturating_sub(body.len());
        body.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
        if body.len() >= MAX_ERROR_BYTES {
            break;
        }
    }
    body.freeze()
}

pub(super) fn connection(error: reqwest::Error) -> Failure {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return Failure::Refused(refused.clone());
        }
        if is_of_tls(inner) {
            return Failure::Tls(quote_error(error));
        }
        source = inner.source();
    }
    Failure::Connection(quote_error(error))
}

/// What an `io::Error` was made of, which may be another one, is not among its sources.
fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_of_tls(inner))
}
