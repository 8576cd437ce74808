//! One plain HTTP exchange with the daemon, or with whoever tells the time, that ends in time whoever answers.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use http::Method;

use crate::clock::Clock;

/// To connect, and then for the whole answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Head and body of the answer, of at most so many bytes; nothing if nobody answers in time.
pub(super) fn exchange(
    address: SocketAddr,
    (method, host, path): (Method, &str, &str),
    bytes_max: u64,
    clock: &dyn Clock,
) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    let ends = clock.instant() + TIMEOUT;
    stream.set_write_timeout(Some(TIMEOUT)).ok()?;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let read = Timed { stream, ends, clock }.take(bytes_max).read_to_end(&mut answer);
    read.ok().map(|_| String::from_utf8_lossy(&answer).into_owned())
}

/// A stream that is read until a point in time, however little comes at once.
struct Timed<'a> {
    stream: TcpStream,
    ends: Instant,
    clock: &'a dyn Clock,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.ends.saturating_duration_since(self.clock.instant());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}
