//! Failures as the user sees them: one sentence, a hint, an exit code.

use hallmark_policy::Code;
use hallmark_policy::image::ReferenceError;
use hallmark_policy::verdict::{Verdict, exit_code};

use crate::key::SigningKeyError;

/// How the program ends. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A policy, a key or a setting cannot be used: 21.
    Invalid,
    /// It is refused, or we do not know: the number of the reason.
    Reason(Code),
    /// It is done, or the answer is allow: 0.
    Success,
    /// Something failed that should not: 1.
    Unexpected,
    /// The command line is wrong: 2.
    Usage,
    /// The answer is a verdict other than allow: its own number.
    Verdict(u8),
}

impl Exit {
    /// How a verdict ends the program.
    pub(crate) fn of_verdict(verdict: &Verdict) -> Self {
        match exit_code(verdict) {
            0 => Self::Success,
            code => Self::Verdict(code),
        }
    }

    /// The first failure of several pieces of work decides.
    pub(crate) fn worse(self, other: Self) -> Self {
        if self == Self::Success { other } else { self }
    }

    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::Reason(code) => code.exit_code(),
            Self::Verdict(code) => code,
            Self::Invalid => 21,
        }
    }
}

/// Why a verb did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the program ends; never [`Exit::Success`].
    pub(crate) exit: Exit,
    /// What is wrong: lower case, no full stop.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure with a hint.
    pub(crate) fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: Some(hint.into()) }
    }

    /// The answer could not be written; then nobody must take the run for a success.
    pub(crate) fn output(error: &std::io::Error) -> Self {
        Self { exit: Exit::Unexpected, message: format!("the output could not be written: {error}"), hint: None }
    }
}

impl From<SigningKeyError> for Failure {
    fn from(error: SigningKeyError) -> Self {
        let exit = match error {
            SigningKeyError::InlineKey
            | SigningKeyError::InlinePin
            | SigningKeyError::ReferenceForm { .. }
            | SigningKeyError::UnsupportedReference { .. }
            | SigningKeyError::VariableName => Exit::Usage,
            SigningKeyError::Random => Exit::Unexpected,
            _ => Exit::Invalid,
        };
        Self::new(exit, error.to_string(), error.hint())
    }
}

impl From<ReferenceError> for Failure {
    fn from(error: ReferenceError) -> Self {
        Self::new(
            Exit::Usage,
            error.to_string(),
            "write it as `registry.example.com/team/app:1.4` or `registry.example.com/team/app@sha256:...`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_end_a_failure_with_success() {
        let failures: [Failure; 4] = [
            SigningKeyError::WrongPassphrase.into(),
            SigningKeyError::InlineKey.into(),
            "UPPER".parse::<hallmark_policy::image::ImageReference>().unwrap_err().into(),
            Failure::output(&std::io::ErrorKind::BrokenPipe.into()),
        ];
        for failure in failures {
            assert_ne!(failure.exit.code(), 0, "{failure:?}");
        }
        for code in Code::ALL {
            assert_ne!(Exit::Reason(*code).code(), 0, "{code}");
        }
    }
}
