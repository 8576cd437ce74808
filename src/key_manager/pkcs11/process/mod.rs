//! A PKCS#11 library in a worker process: whatever becomes of it there, the daemon goes on.

mod awaited;
#[cfg(test)]
mod broken_worker;
mod codec;
mod control;
mod in_flight;
mod isolated_hsm;
mod job_codec;
mod job_socket;
mod limits;
mod live;
mod memory;
mod message;
mod mirror;
mod processes;
mod reporter;
mod serving;
mod supervisor;
mod worker_process;

pub use isolated_hsm::IsolatedHsmParts;
pub(in crate::key_manager::pkcs11) use job_socket::SocketReply;
pub use processes::{LogLine, Processes};
pub use serving::{LineWriter, WorkerSide};
