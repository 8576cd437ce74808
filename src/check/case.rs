//! One thing that a conforming proxy does, and how to find out.

use std::pin::Pin;

use crate::check::finding::Judged;
use crate::check::session::Session;

/// Whether a proxy that fails the case is wrong, or only worse than it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The specification or the official client demands it.
    Must,
    /// Recommended, or follows from what is demanded.
    Should,
}

/// What a case cannot run without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    DecryptOnlyKey,
    EncryptOnlyKey,
    Https,
    ImpotentKey,
    MutualTls,
    Nothing,
}

type Running<'a> = Pin<Box<dyn Future<Output = Judged> + Send + 'a>>;
type Run = for<'a> fn(&'a Session) -> Running<'a>;

/// A row of the tables in `cases`.
pub(crate) struct Case {
    pub severity: Severity,
    /// The rows of the official client's case list that this covers, if any.
    pub rows: &'static str,
    pub name: &'static str,
    pub need: Need,
    pub run: Run,
}

/// Cases about one subject.
pub(crate) struct Group {
    pub name: &'static str,
    pub cases: &'static [Case],
}

impl Case {
    pub(crate) const fn must(name: &'static str, run: Run) -> Self {
        Self { severity: Severity::Must, rows: "", name, need: Need::Nothing, run }
    }

    pub(crate) const fn should(name: &'static str, run: Run) -> Self {
        Self { severity: Severity::Should, ..Self::must(name, run) }
    }

    /// The numbers of these cases in the official client's list.
    pub(crate) const fn rows(self, rows: &'static str) -> Self {
        Self { rows, ..self }
    }

    pub(crate) const fn needs(self, need: Need) -> Self {
        Self { need, ..self }
    }
}

impl Need {
    /// What is missing to meet the need, if anything is.
    pub(crate) const fn unmet(self, session: &Session) -> Option<&'static str> {
        let (is_met, missing) = match self {
            Self::DecryptOnlyKey => (session.keys.decrypt_only.is_some(), "no decrypt-only key given"),
            Self::EncryptOnlyKey => (session.keys.encrypt_only.is_some(), "no encrypt-only key given"),
            Self::Https => (session.is_https(), "plain HTTP"),
            Self::ImpotentKey => (session.keys.impotent.is_some(), "no do-nothing key given"),
            Self::MutualTls => (session.mtls_host.is_some(), "no client certificate given"),
            Self::Nothing => (true, ""),
        };
        if is_met { None } else { Some(missing) }
    }
}
