//! The client against a real registry that can be made old, slow or hostile, request by request.

#![expect(clippy::unwrap_used, reason = "a panic in a test, or in what sets one up, is a failed test")]

mod attach;
mod certificates;
mod connections;
mod copy;
mod credential_files;
mod credential_programs;
mod credentials;
mod doctor;
mod gather;
mod large;
mod listings;
mod mirrors;
mod patience;
mod redirects;
mod repair;
mod scripted;
mod tags;
mod untruthful;
