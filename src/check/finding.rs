//! What a case found that is not as it should be.

/// Why a case did not pass. Never holds a plaintext, a secret or a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Mismatch {
        expected: String,
        got: String,
    },
    /// The case cannot be judged with this proxy or these options.
    Skipped(&'static str),
}

impl Finding {
    /// The proxy answered 429, which is right of it if its key store has a quota.
    pub(crate) fn is_throttling(&self) -> bool {
        match self {
            Self::Mismatch { got, .. } => got.starts_with("429 "),
            Self::Skipped(_) => false,
        }
    }
}

/// What a case returns.
pub(crate) type Judged = Result<(), Finding>;

pub(crate) fn mismatch(expected: impl Into<String>, got: impl Into<String>) -> Finding {
    Finding::Mismatch { expected: expected.into(), got: got.into() }
}

/// Says which of several variants of a case failed.
pub(crate) trait InVariant {
    fn in_variant(self, variant: &str) -> Self;
}

impl<T> InVariant for Result<T, Finding> {
    fn in_variant(self, variant: &str) -> Self {
        self.map_err(|finding| match finding {
            Finding::Mismatch { expected, got } => mismatch(expected, format!("{got} (with {variant})")),
            Finding::Skipped(reason) => Finding::Skipped(reason),
        })
    }
}

pub(crate) fn ensure(holds: bool, expected: &str, got: impl Into<String>) -> Judged {
    if holds { Ok(()) } else { Err(mismatch(expected, got)) }
}
