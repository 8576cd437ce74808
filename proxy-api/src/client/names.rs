//! The addresses of one host, looked up by one thread at a time.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use super::Endpoint;

/// A burst of connections asks once. Hardly longer than a record lives that is meant to move a service.
const FOUND_TIME_MAX: Duration = Duration::from_secs(5);
/// Who waited for a lookup that failed need not try it one after the other.
const FAILED_TIME_MAX: Duration = Duration::from_secs(1);

/// A resolver cannot be interrupted, so that a lookup which nobody waits for any longer still occupies a thread of
/// the process. The next one who asks waits for that one.
pub(super) struct Names {
    /// A host that is an address needs no lookup.
    literal: Option<SocketAddr>,
    lookup: Lookup,
    state: Mutex<State>,
}

type Lookup = Arc<dyn Fn() -> io::Result<Vec<SocketAddr>> + Send + Sync>;

#[derive(Default)]
struct State {
    known: Option<Found>,
    underway: Option<JoinHandle<Found>>,
}

/// What a lookup came to.
struct Found {
    at: Instant,
    addresses: io::Result<Vec<SocketAddr>>,
}

impl Names {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        let (name, port) = endpoint.address();
        let literal = name.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
        let name = name.to_owned();
        let lookup = Arc::new(move || Ok((name.as_str(), port).to_socket_addrs()?.collect()));
        Self { literal, lookup, state: Mutex::default() }
    }

    /// At least one address, in the order of the resolver. May be dropped at any time.
    pub(super) async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        if let Some(literal) = self.literal {
            return Ok(vec![literal]);
        }
        let mut state = self.state.lock().await;
        if let Some(known) = state.known.as_ref().filter(|known| known.is_fresh()) {
            return known.addresses();
        }
        loop {
            let lookup = Arc::clone(&self.lookup);
            let underway = state.underway.get_or_insert_with(|| spawn_blocking(move || Found::by(&*lookup)));
            let found = underway.await;
            state.underway = None;
            let found = found.map_err(io::Error::other)?;
            // One that ended long ago, while nobody asked, is as good as none.
            if found.is_fresh() {
                let addresses = found.addresses();
                state.known = Some(found);
                return addresses;
            }
        }
    }
}

impl Found {
    fn by(lookup: &dyn Fn() -> io::Result<Vec<SocketAddr>>) -> Self {
        let addresses = lookup();
        Self { at: Instant::now(), addresses }
    }

    fn is_fresh(&self) -> bool {
        let time_max = if self.addresses.is_ok() { FOUND_TIME_MAX } else { FAILED_TIME_MAX };
        self.at.elapsed() < time_max
    }

    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.addresses {
            Ok(addresses) if addresses.is_empty() => {
                Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"))
            }
            Ok(addresses) => Ok(addresses.clone()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, mpsc};
    use std::time::Duration;

    use tokio::task::{JoinSet, spawn_blocking};
    use tokio::time::{Instant, timeout};

    use super::{FAILED_TIME_MAX, FOUND_TIME_MAX, Found, Names};
    use crate::client::{Endpoint, HttpVersions};

    /// Looks up what is sent, counts, and waits for it.
    fn names() -> (Arc<Names>, Arc<AtomicUsize>, mpsc::Sender<io::Result<Vec<SocketAddr>>>) {
        let (answers, answer) = mpsc::channel();
        let (answer, lookups) = (Mutex::new(answer), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&lookups);
        let lookup = Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            answer.lock().unwrap().recv().unwrap()
        });
        let names = Names { literal: None, lookup, state: tokio::sync::Mutex::default() };
        (Arc::new(names), lookups, answers)
    }

    fn here() -> Vec<SocketAddr> {
        vec![SocketAddr::from(([127, 0, 0, 1], 443))]
    }

    #[tokio::test]
    async fn however_many_ask_and_give_up_one_thread_looks_and_all_learn_what_it_finds() {
        let (names, lookups, answers) = names();
        let mut burst = JoinSet::new();
        for number in 0..100 {
            let names = Arc::clone(&names);
            let patience = Duration::from_millis(if number < 50 { 20 } else { 30_000 });
            burst.spawn(async move { timeout(patience, names.addresses()).await });
        }
        for _ in 0..50 {
            assert!(burst.join_next().await.unwrap().unwrap().is_err(), "gave up");
        }
        answers.send(Ok(here())).unwrap();
        for found in burst.join_all().await {
            assert_eq!(found.unwrap().unwrap(), here());
        }
        assert_eq!(lookups.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_was_found_is_kept_for_seconds_and_that_nothing_was_for_one() {
        let (names, lookups, answers) = names();
        for (lookup, answer, time_max) in [
            (1, Ok(here()), FOUND_TIME_MAX),
            (2, Err(io::Error::other("no such host")), FAILED_TIME_MAX),
            (3, Ok(Vec::new()), FOUND_TIME_MAX),
        ] {
            let is_found = answer.as_ref().is_ok_and(|addresses| !addresses.is_empty());
            answers.send(answer).unwrap();
            for _ in 0..3 {
                assert_eq!(names.addresses().await.is_ok(), is_found);
                assert_eq!(lookups.load(Ordering::SeqCst), lookup);
            }
            names.state.lock().await.known.as_mut().unwrap().at -= time_max;
        }
    }

    #[tokio::test]
    async fn what_a_lookup_found_long_ago_while_nobody_asked_is_looked_up_again() {
        let (names, lookups, answers) = names();
        let failed = Found { at: Instant::now() - FAILED_TIME_MAX, addresses: Err(io::Error::other("then")) };
        names.state.lock().await.underway = Some(spawn_blocking(|| failed));
        answers.send(Ok(here())).unwrap();
        assert_eq!(names.addresses().await.unwrap(), here());
        assert_eq!(lookups.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_host_is_looked_up_unless_it_is_an_address() {
        let names = |host| Names::of(&Endpoint::http(host, HttpVersions::Http1).unwrap());
        let named = names("localhost:1").addresses().await.unwrap();
        assert!(named.iter().all(|address| address.ip().is_loopback() && address.port() == 1));
        let numbered = names("192.0.2.1:2");
        assert_eq!(numbered.addresses().await.unwrap(), [SocketAddr::from(([192, 0, 2, 1], 2))]);
        assert!(numbered.state.lock().await.known.is_none());
    }
}
