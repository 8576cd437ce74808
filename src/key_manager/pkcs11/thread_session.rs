//! The session of one thread: opened when it is needed, replaced when it is broken.

use std::sync::Arc;

use cryptoki::session::Session;
use prometheus::IntGauge;

use crate::key_manager::pkcs11::fault::{Fault, Remedy};
use crate::key_manager::pkcs11::module::Library;
use crate::key_manager::pkcs11::token::{ObjectLock, OpenSession, Token};

pub(super) struct ThreadSession {
    token: Arc<Token>,
    open: Option<OpenSession>,
    /// Counts open sessions.
    gauge: Option<IntGauge>,
}

/// A session on a token that is logged in.
#[derive(Clone, Copy)]
pub(super) struct Ready<'a> {
    pub(super) session: &'a Session,
    /// The login that object handles belong to.
    pub(super) login: u64,
    /// Of its token.
    pub(super) objects: &'a ObjectLock,
}

impl ThreadSession {
    pub(super) fn new(token: Arc<Token>, gauge: Option<IntGauge>) -> Self {
        Self { token, open: None, gauge }
    }

    pub(super) fn ready(&mut self, library: &Library) -> Result<Ready<'_>, Fault> {
        // What is not ours any more is already closed.
        if self.open.as_ref().is_some_and(|open| !open.is_current(&self.token)) {
            self.take();
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let open = self.token.open_session(library)?;
                self.gauge.iter().for_each(IntGauge::inc);
                none.insert(open)
            }
        };
        let login = self.token.login_number();
        Ok(Ready { session: open.session(), login, objects: &self.token.objects })
    }

    pub(super) fn close(&mut self, library: &Library) {
        if let Some(open) = self.take() {
            open.close(&self.token, library);
        }
    }

    /// Makes good what a new session, or a new login, can: true if it is worth trying again.
    pub(super) fn heal(&mut self, fault: &Fault, library: &Library) -> bool {
        match fault.blame.remedy() {
            Remedy::LogIn => {
                if let Some(open) = &self.open {
                    self.token.forget_login(open.login, library);
                }
            }
            Remedy::Reopen => {
                if let Some(open) = &self.open {
                    self.token.verify_login(open.login, library);
                }
            }
            Remedy::Check
            | Remedy::FindAgain
            | Remedy::Keep
            | Remedy::Never
            | Remedy::Reinitialize
            | Remedy::Try => return false,
        }
        self.close(library);
        true
    }

    fn take(&mut self) -> Option<OpenSession> {
        let open = self.open.take()?;
        self.gauge.iter().for_each(IntGauge::dec);
        Some(open)
    }
}
