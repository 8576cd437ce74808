//! Kept connections to one proxy, and the deadlines of an exchange over them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connection::connect;
use super::names::Names;
use super::reach::Reach;
use super::{Answer, Connection, Endpoint, Failure, Outgoing};

/// Below the time after which load balancers and firewalls forget a silent connection without telling us.
const IDLE_TIME_MAX: Duration = Duration::from_secs(120);
/// A connection serves no longer, however busy it is: the certificate of the proxy is looked at anew, and another address
/// of its name, or another machine behind its load balancer, is found.
const AGE_MAX: Duration = Duration::from_secs(300);
/// So much earlier at most, in steps, so that connections that began together do not all end together.
const AGE_SPREAD: Duration = Duration::from_secs(60);
const AGE_STEPS: u32 = 16;
/// A burst that finds no connection must not become as many handshakes, which slow each other down; most of it is
/// served by the first connections sooner.
const OPENINGS_MAX: usize = 16;

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
    names: Names,
    deadlines: Deadlines,
    /// One for each connection that may be open. A new one is only opened where none is idle, so that no more are.
    places: Semaphore,
    openings: Semaphore,
    returned: Notify,
    /// The last used at the back.
    idle: Mutex<VecDeque<Idle>>,
    reach: Mutex<Reach>,
    peer_certificate: Mutex<Option<Arc<[u8]>>>,
    opened: AtomicU32,
}

/// A connection, and until when it serves.
struct Kept {
    connection: Connection,
    until: Instant,
}

struct Idle {
    kept: Kept,
    since: Instant,
}

impl Kept {
    fn serves(&mut self) -> bool {
        Instant::now() < self.until && self.connection.is_open()
    }
}

impl Pool {
    /// Opens at most `connections_max` connections; more requests wait for one.
    #[must_use]
    pub fn new(endpoint: Endpoint, deadlines: Deadlines, connections_max: usize) -> Self {
        Self {
            names: Names::of(&endpoint),
            endpoint,
            deadlines,
            places: Semaphore::new(connections_max),
            openings: Semaphore::new(OPENINGS_MAX),
            returned: Notify::new(),
            idle: Mutex::default(),
            reach: Mutex::default(),
            peer_certificate: Mutex::default(),
            opened: AtomicU32::default(),
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
        // Closed is no case: nobody closes it.
        let place = timeout_at(deadline, self.places.acquire()).await;
        let _place = place.map_err(|_| self.waited_in_vain())?;
        let (connection, is_new) = self.connection(deadline).await?;
        match self.send(connection, outgoing.clone(), deadline).await {
            // The proxy may have closed it just now: that says nothing about this request.
            Err(Failure::Closed(_)) if !is_new => {}
            result => return result,
        }
        let connection = self.open(deadline).await?;
        self.send(connection, outgoing, deadline).await
    }

    /// A kept connection, or a new one; and whether it is new.
    async fn connection(&self, deadline: Instant) -> Result<(Kept, bool), Failure> {
        loop {
            let returned = self.returned.notified();
            if let Some(kept) = self.kept() {
                return Ok((kept, false));
            }
            tokio::select! {
                biased;
                _opening = self.openings.acquire() => return Ok((self.open(deadline).await?, true)),
                () = returned => {}
                () = sleep_until(deadline) => return Err(self.waited_in_vain()),
            }
        }
    }

    /// Who waits in vain waits for those who have a connection or open one: as they fare, so does it.
    fn waited_in_vain(&self) -> Failure {
        if lock(&self.reach).is_missing(Instant::now(), self.deadlines.connect) {
            Failure::ConnectTimeout
        } else {
            Failure::AnswerTimeout
        }
    }

    async fn open(&self, deadline: Instant) -> Result<Kept, Failure> {
        let started = Instant::now();
        lock(&self.reach).note_try(started);
        let until = deadline.min(started + self.deadlines.connect);
        let Ok(tcp) = timeout_at(until, connect(&self.names)).await else {
            // Most of the time was gone before: that it was too short now says nothing about TCP.
            let is_late = until.saturating_duration_since(started) < self.deadlines.connect / 2;
            return Err(if is_late { self.waited_in_vain() } else { Failure::ConnectTimeout });
        };
        let tcp = tcp?;
        lock(&self.reach).note_sign_of_life(Instant::now());
        let opened = timeout_at(until, Connection::over(tcp, &self.endpoint)).await;
        let connection = opened.map_err(|_| Failure::TlsTimeout)??;
        *lock(&self.peer_certificate) = connection.peer_certificate().map(Arc::from);
        let step = self.opened.fetch_add(1, Ordering::Relaxed) % AGE_STEPS;
        Ok(Kept { connection, until: started + AGE_MAX - AGE_SPREAD / AGE_STEPS * step })
    }

    async fn send(&self, mut kept: Kept, outgoing: Outgoing, deadline: Instant) -> Result<Answer, Failure> {
        let answer = timeout_at(deadline, kept.connection.send(outgoing))
            .await
            .map_err(|_| Failure::AnswerTimeout)??;
        lock(&self.reach).note_sign_of_life(Instant::now());
        self.keep(kept);
        Ok(answer)
    }

    fn kept(&self) -> Option<Kept> {
        let mut idle = lock(&self.idle);
        while let Some(Idle { mut kept, since }) = idle.pop_back() {
            if since.elapsed() < IDLE_TIME_MAX && kept.serves() {
                return Some(kept);
            }
        }
        None
    }

    fn keep(&self, mut kept: Kept) {
        let mut idle = lock(&self.idle);
        while idle.front().is_some_and(|idle| idle.since.elapsed() >= IDLE_TIME_MAX) {
            idle.pop_front();
        }
        if kept.serves() {
            idle.push_back(Idle { kept, since: Instant::now() });
            self.returned.notify_one();
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
