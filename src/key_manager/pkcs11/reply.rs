//! Where the answer of a job goes; whoever has it has the job in hand.

use tokio::sync::oneshot;

use crate::key_manager::HsmError;
use crate::key_manager::pkcs11::fitness::Ticket;
use crate::key_manager::pkcs11::process::SocketReply;
use crate::key_manager::pkcs11::worker::Completed;

pub(super) enum JobReply {
    /// To somebody in this process.
    Caller { sender: oneshot::Sender<Completed>, ticket: Ticket },
    /// To the daemon that this process works for.
    Daemon(SocketReply),
}

impl JobReply {
    pub(super) fn new(ticket: Ticket) -> (Self, oneshot::Receiver<Completed>) {
        let (sender, answer) = oneshot::channel();
        (Self::Caller { sender, ticket }, answer)
    }

    /// Nobody waits any more.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Caller { sender, .. } => sender.is_closed(),
            Self::Daemon(_) => false,
        }
    }

    /// The receiver may have given up: then the result is wiped with the message.
    pub(super) fn send(self, completed: Completed) {
        let (sender, ticket) = match self {
            Self::Caller { sender, ticket } => (sender, ticket),
            Self::Daemon(reply) => return reply.send(completed),
        };
        let Completed { result, queue_wait, hsm_time } = completed;
        let is_quarantined = ticket.is_quarantined();
        ticket.answered(result.as_ref().err(), queue_wait, hsm_time);
        let result = result.and_then(|output| if is_quarantined { Err(quarantined()) } else { Ok(output) });
        let _ = sender.send(Completed { result, queue_wait, hsm_time });
    }
}

/// Why an HSM that returned something wrong is not asked.
pub(super) fn quarantined() -> HsmError {
    HsmError::Unavailable("the HSM is quarantined: it returned something wrong".to_owned())
}
