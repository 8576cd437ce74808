//! Kept connections to one proxy, and the deadlines of an exchange over them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::{Answer, Connection, Endpoint, Failure, Outgoing};

/// Below the time after which load balancers and firewalls forget a silent connection without telling us.
const IDLE_TIME_MAX: Duration = Duration::from_secs(120);

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// TCP and TLS of a new connection.
    pub connect: Duration,
    /// Everything, a new connection and the wait for a free one included.
    pub total: Duration,
}

/// Connections to one endpoint, kept between requests, one request at a time on each.
pub struct Pool {
    endpoint: Endpoint,
    deadlines: Deadlines,
    /// One for each connection that may be open. A new one is only opened where none is idle, so that no more are.
    places: Semaphore,
    /// The last used at the back.
    idle: Mutex<VecDeque<Idle>>,
    /// Whether TCP worked when it was tried last.
    is_reachable: AtomicBool,
    peer_certificate: Mutex<Option<Arc<[u8]>>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// Opens at most `connections_max` connections; more requests wait for one.
    #[must_use]
    pub fn new(endpoint: Endpoint, deadlines: Deadlines, connections_max: usize) -> Self {
        Self {
            endpoint,
            deadlines,
            places: Semaphore::new(connections_max),
            idle: Mutex::default(),
            is_reachable: AtomicBool::new(true),
            peer_certificate: Mutex::default(),
        }
    }

    /// Where the connections lead.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What the proxy showed when a connection was last opened, in DER; another pointer after each time.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<Arc<[u8]>> {
        lock(&self.peer_certificate).clone()
    }

    /// Sends over a kept connection, or a new one.
    pub async fn exchange(&self, outgoing: Outgoing) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.deadlines.total;
        let _place = self.place(deadline).await?;
        if let Some(connection) = self.kept() {
            match self.send(connection, outgoing.clone(), deadline).await {
                // The proxy may have closed it just now: that says nothing about this request.
                Err(Failure::Closed(_)) => {}
                result => return result,
            }
        }
        let connection = self.open(deadline).await?;
        self.send(connection, outgoing, deadline).await
    }

    /// Who waits for a place in vain waits for those who have one: as they fare, so does it.
    async fn place(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Failure> {
        match timeout_at(deadline, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(if self.is_reachable.load(Ordering::Relaxed) {
                Failure::AnswerTimeout
            } else {
                Failure::ConnectTimeout
            }),
        }
    }

    async fn open(&self, deadline: Instant) -> Result<Connection, Failure> {
        let deadline = deadline.min(Instant::now() + self.deadlines.connect);
        let opened = Connection::open_until(&self.endpoint, deadline).await;
        let is_reachable = !matches!(opened, Err(Failure::Connect(_) | Failure::ConnectTimeout));
        self.is_reachable.store(is_reachable, Ordering::Relaxed);
        if let Ok(connection) = &opened {
            *lock(&self.peer_certificate) = connection.peer_certificate().map(Arc::from);
        }
        opened
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
        let mut idle = lock(&self.idle);
        while let Some(Idle { mut connection, since }) = idle.pop_back() {
            if since.elapsed() < IDLE_TIME_MAX && connection.is_open() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, mut connection: Connection) {
        let mut idle = lock(&self.idle);
        while idle.front().is_some_and(|idle| idle.since.elapsed() >= IDLE_TIME_MAX) {
            idle.pop_front();
        }
        if connection.is_open() {
            idle.push_back(Idle { connection, since: Instant::now() });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({:?})", self.endpoint)
    }
}
