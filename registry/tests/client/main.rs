//! The client against a real registry that can be made old, slow or hostile, request by request.

mod attach;
mod credentials;
mod gather;
mod scripted;
mod untruthful;
