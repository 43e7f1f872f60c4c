//! End-to-end, interoperability and attack tests of Hallmark.
