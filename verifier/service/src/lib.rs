//! The verifier service: verdicts over HTTP and Kubernetes admission.
