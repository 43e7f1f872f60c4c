//! The only code that talks to a registry: reference in, evidence out; and what is attached.
