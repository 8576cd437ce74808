//! Kept connections to one proxy, and the deadlines of an exchange over them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::{Answer, Connection, Endpoint, Failure, Outgoing};

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// TCP and TLS of a new connection.
    pub connect: Duration,
    /// Everything, a new connection included.
    pub total: Duration,
}

/// Connections to one endpoint, kept between requests.
pub struct Pool {
    endpoint: Endpoint,
    deadlines: Deadlines,
    idle_max: usize,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// Keeps at most `idle_max` connections that are not in use.
    #[must_use]
    pub const fn new(endpoint: Endpoint, deadlines: Deadlines, idle_max: usize) -> Self {
        Self { endpoint, deadlines, idle_max, idle: Mutex::new(Vec::new()) }
    }

    /// Where the connections lead.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends over a kept connection, or a new one.
    pub async fn exchange(&self, outgoing: Outgoing) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.deadlines.total;
        if let Some(connection) = self.kept() {
            match self.send(connection, outgoing.clone(), deadline).await {
                // The proxy may have closed it just now: that says nothing about this request.
                Err(Failure::Closed(_)) => {}
                result => return result,
            }
        }
        let connect = self.deadlines.connect.min(self.deadlines.total);
        let connection = timeout(connect, Connection::open(&self.endpoint))
            .await
            .map_err(|_| Failure::ConnectTimeout)??;
        self.send(connection, outgoing, deadline).await
    }

    async fn send(
        &self,
        mut connection: Connection,
        outgoing: Outgoing,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let answer =
            timeout_at(deadline, connection.send(outgoing)).await.map_err(|_| Failure::AnswerTimeout)??;
        self.keep(connection);
        Ok(answer)
    }

    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut connection) = idle.pop() {
            if connection.is_open() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, mut connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_max && connection.is_open() {
            idle.push(connection);
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({:?})", self.endpoint)
    }
}
