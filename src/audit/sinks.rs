//! Where lines go besides the file: standard output, syslog. Best effort; the file is the truth.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use prometheus::IntCounter;

use crate::clock::Clock;
use crate::config::{Syslog, SyslogAddress};
use crate::logging::{self, LogSink};

/// Lines that may wait for a syslog server.
const WAITING_MAX: usize = 4096;
const TIMEOUT: Duration = Duration::from_secs(5);
/// A server that could not be reached is not tried for every line.
const RETRY: Duration = Duration::from_secs(1);
const INFORMATIONAL: u8 = 6;
const NIL: &str = "-";

/// Cheap to make and to throw away: threads end with the last of them.
#[derive(Clone, Default)]
pub struct Sinks {
    pub stdout: Option<LogSink>,
    pub syslog: Option<SyslogSink>,
}

impl Sinks {
    /// Sends one line, without its newline.
    pub(super) fn send(&self, line: &[u8]) {
        if let Some(stdout) = &self.stdout {
            stdout.write_line(&[line, b"\n"].concat());
        }
        if let Some(syslog) = &self.syslog {
            syslog.send(line);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stdout.is_none() && self.syslog.is_none()
    }
}

/// A syslog server (RFC 5424), written to by a thread of its own.
#[derive(Clone)]
pub struct SyslogSink {
    lines: Sender<Vec<u8>>,
    dropped: IntCounter,
}

impl SyslogSink {
    pub fn start(settings: &Syslog, clock: Arc<dyn Clock>, dropped: IntCounter) -> io::Result<Self> {
        let (lines, waiting) = crossbeam_channel::bounded(WAITING_MAX);
        let thread = SyslogThread {
            priority: settings.facility.number() * 8 + INFORMATIONAL,
            host: host_name(),
            address: settings.address.clone(),
            connection: None,
            not_before: None,
            clock,
            dropped: dropped.clone(),
        };
        thread::Builder::new().name("audit-syslog".to_owned()).spawn(move || thread.run(&waiting))?;
        Ok(Self { lines, dropped })
    }

    fn send(&self, line: &[u8]) {
        match self.lines.try_send(line.to_vec()) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.dropped.inc(),
        }
    }
}

enum Connection {
    Tcp(TcpStream),
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

struct SyslogThread {
    priority: u8,
    host: String,
    address: SyslogAddress,
    connection: Option<Connection>,
    not_before: Option<Instant>,
    clock: Arc<dyn Clock>,
    dropped: IntCounter,
}

impl SyslogThread {
    fn run(mut self, lines: &Receiver<Vec<u8>>) {
        while let Ok(line) = lines.recv() {
            let message = message(self.priority, &self.host, self.clock.now(), &line);
            // A connection that its other end has closed is noticed by writing to it.
            if self.try_send(&message).is_err() && self.try_send(&message).is_err() {
                self.dropped.inc();
            }
        }
    }

    fn try_send(&mut self, message: &[u8]) -> io::Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let now = self.clock.instant();
                if self.not_before.is_some_and(|at| now < at) {
                    return Err(io::ErrorKind::NotConnected.into());
                }
                self.not_before = Some(now + RETRY);
                none.insert(Connection::open(&self.address)?)
            }
        };
        let result = connection.send(message);
        // A message that is too long for a datagram says nothing of the next one.
        if result.is_err() {
            self.connection = None;
        }
        result
    }
}

impl Connection {
    fn open(address: &SyslogAddress) -> io::Result<Self> {
        match address {
            SyslogAddress::Tcp(host_and_port) => {
                let address = resolve(host_and_port)?;
                let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                Ok(Self::Tcp(stream))
            }
            SyslogAddress::Udp(host_and_port) => {
                let address = resolve(host_and_port)?;
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                Ok(Self::Udp(socket))
            }
            SyslogAddress::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                Ok(Self::Unix(socket))
            }
        }
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            // RFC 6587, 3.4.1: octet counting.
            Self::Tcp(stream) => {
                let counted = [format!("{} ", message.len()).as_bytes(), message].concat();
                stream.write_all(&counted)
            }
            Self::Udp(socket) => socket.send(message).map(drop),
            Self::Unix(socket) => socket.send(message).map(drop),
        }
    }
}

fn resolve(host_and_port: &str) -> io::Result<std::net::SocketAddr> {
    host_and_port.to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// RFC 5424, 6: the line is the message, and nothing is said twice.
fn message(priority: u8, host: &str, now: SystemTime, line: &[u8]) -> Vec<u8> {
    let (time, process) = (logging::timestamp(now), std::process::id());
    let head = format!("<{priority}>1 {time} {host} holdfast {process} audit {NIL} ");
    [head.as_bytes(), line].concat()
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.chars().filter(char::is_ascii_graphic).collect();
    if name.is_empty() { NIL.to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, UdpSocket};
    use std::sync::Arc;

    use prometheus::IntCounter;

    use super::{Sinks, SyslogSink};
    use crate::clock::SystemClock;
    use crate::config::{Syslog, SyslogAddress, SyslogFacility};

    fn start(address: SyslogAddress) -> (Sinks, IntCounter) {
        let dropped = IntCounter::new("dropped", "x").unwrap();
        let settings = Syslog { address, facility: SyslogFacility::Local0 };
        let syslog = SyslogSink::start(&settings, Arc::new(SystemClock), dropped.clone()).unwrap();
        (Sinks { stdout: None, syslog: Some(syslog) }, dropped)
    }

    #[test]
    fn a_line_goes_over_tcp_with_its_length_before_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (sinks, _) = start(SyslogAddress::Tcp(listener.local_addr().unwrap().to_string()));
        sinks.send(b"{\"a\":1}");
        sinks.send(b"{\"b\":2}");
        let (mut stream, _) = listener.accept().unwrap();
        drop(sinks);
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (count, rest) = text.split_once(' ').unwrap();
        let (first, second) = rest.split_at(count.parse().unwrap());
        // Facility 16, severity 6.
        assert!(first.starts_with("<134>1 20") && first.ends_with(" audit - {\"a\":1}"), "{first}");
        assert!(second.ends_with("{\"b\":2}"), "{second}");
    }

    #[test]
    fn a_line_is_a_datagram() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (sinks, _) = start(SyslogAddress::Udp(socket.local_addr().unwrap().to_string()));
        sinks.send(b"{\"a\":1}");
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).unwrap();
        assert!(bytes[..length].ends_with(b" audit - {\"a\":1}"));
    }

    #[test]
    fn lines_for_nobody_are_counted() {
        let (sinks, dropped) = start(SyslogAddress::Unix("/nowhere/log".into()));
        sinks.send(b"{}");
        drop(sinks);
        while dropped.get() == 0 {
            std::thread::yield_now();
        }
    }
}
