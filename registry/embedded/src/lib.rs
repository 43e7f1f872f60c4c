//! A small, well-behaved OCI registry for the demo and the tests.
