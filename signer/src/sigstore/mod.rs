//! Signing with Sigstore's services: who one is ([`token`], [`ambient`], [`login`]), a certificate that says so ([`fulcio`]), an entry
//! in a transparency log ([`rekor`]) and timestamps, from the services that a signing config or flags name ([`services`]).
//!
//! Whatever these services answer is bounded and not believed: what is made of it is verified by the same code that
//! verifies everybody's bundles, before it goes anywhere.

pub(crate) mod ambient;
mod ceremony;
mod fulcio;
mod http;
mod login;
mod rekor;
mod services;
mod session;
mod token;

pub(crate) use ceremony::{Ceremony, Made};
pub(crate) use http::{Http, Problem, Question, address, distinct_addresses};
pub(crate) use login::{Flow, Login, Redirect};
pub(crate) use rekor::Log;
pub(crate) use services::{Choice, Instance, LogVersion, MAX_CONFIG_BYTES, Services};
pub(crate) use session::Session;
