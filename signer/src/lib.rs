//! The hallmark command: signs container images, verifies them, explains policies.
