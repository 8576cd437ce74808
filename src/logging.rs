//! Log lines, one JSON object each, written by a thread of their own so that a slow log delays no request.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use prometheus::IntCounter;
use time::OffsetDateTime;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written; more are dropped and counted.
const LINES_WAITING_MAX: usize = 16_384;
/// Lines written with one system call, in bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// How long the end of the program waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Where lines go. Cheap to clone.
#[derive(Clone)]
pub struct LogSink {
    lines: Sender<Vec<u8>>,
    dropped: IntCounter,
}

/// Waits for the last lines when it is dropped.
pub struct LogGuard {
    sink: Option<LogSink>,
    ended: Receiver<()>,
}

impl LogSink {
    /// Starts the writing thread.
    pub fn start(output: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<(Self, LogGuard)> {
        let (lines, receiver) = crossbeam_channel::bounded(LINES_WAITING_MAX);
        let (end, ended) = crossbeam_channel::bounded(1);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            write_lines(&receiver, output);
            let _ = end.send(());
        })?;
        let sink = Self { lines, dropped };
        Ok((sink.clone(), LogGuard { sink: Some(sink), ended }))
    }

    /// Queues one line, which ends with a newline.
    pub fn write_line(&self, line: Vec<u8>) {
        match self.lines.try_send(line) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.dropped.inc(),
        }
    }
}

fn write_lines(lines: &Receiver<Vec<u8>>, mut output: impl Write) {
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    while let Ok(line) = lines.recv() {
        // An empty line asks for the end.
        let mut end = line.is_empty();
        batch.extend_from_slice(&line);
        while batch.len() < BATCH_BYTES
            && let Ok(line) = lines.try_recv()
        {
            end |= line.is_empty();
            batch.extend_from_slice(&line);
        }
        // A log that cannot be written must not end the service.
        let _ = output.write_all(&batch).and_then(|()| output.flush());
        batch.clear();
        if end {
            return;
        }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            let _ = sink.lines.send_timeout(Vec::new(), FLUSH_TIMEOUT);
            let _ = self.ended.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Sends `tracing` events of this program to `sink` as JSON. `filter` has the syntax of `EnvFilter`.
pub fn subscribe(sink: LogSink, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log filter `{filter}`: {error}"))?;
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_env_filter(filter)
        .with_writer(SinkWriter(sink))
        .finish();
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())
}

/// `2026-11-22T03:04:05.678Z` (RFC 3339).
pub fn timestamp(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let (date, hour, minute, second) = (time.date(), time.hour(), time.minute(), time.second());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", time.millisecond())
}

struct SinkWriter(LogSink);

impl<'a> MakeWriter<'a> for SinkWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { sink: &self.0, text: Vec::new() }
    }
}

/// Collects the pieces of one event.
struct Line<'a> {
    sink: &'a LogSink,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.sink.write_line(std::mem::take(&mut self.text));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use prometheus::IntCounter;

    use super::{LINES_WAITING_MAX, LogSink};

    #[derive(Clone, Default)]
    struct Buffer(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn timestamps_are_rfc_3339_with_milliseconds() {
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_763_780_645_007);
        assert_eq!(super::timestamp(time), "2025-11-22T03:04:05.007Z");
    }

    #[test]
    fn what_was_queued_is_written_before_the_end() {
        let buffer = Buffer::default();
        let (sink, guard) = LogSink::start(buffer.clone(), IntCounter::new("dropped", "x").unwrap()).unwrap();
        for _ in 0..100 {
            sink.write_line(b"line\n".to_vec());
        }
        drop(guard);
        assert_eq!(buffer.0.lock().len(), 500);
    }

    #[test]
    fn a_log_that_hangs_costs_lines_and_not_time() {
        struct Hangs(crossbeam_channel::Receiver<()>);
        impl Write for Hangs {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, hang) = crossbeam_channel::bounded(0);
        let dropped = IntCounter::new("dropped", "x").unwrap();
        let (sink, guard) = LogSink::start(Hangs(hang), dropped.clone()).unwrap();
        for _ in 0..LINES_WAITING_MAX * 2 {
            sink.write_line(b"0123456789012345678901234567890123456789\n".to_vec());
        }
        assert!(dropped.get() > 0);
        drop(release);
        drop(guard);
    }
}
