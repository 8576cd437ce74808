//! Log lines, one JSON object each, written by a thread of their own so that a slow log delays no request.

use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;
use time::OffsetDateTime;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{Directive, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::spans::{self, SpanLayer};

/// Text that may wait to be written; more is dropped, and its lines are counted.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Of it, before lines about strangers are dropped.
const STRANGERS_BYTES_MAX: usize = WAITING_BYTES_MAX / 4;
/// How long lines are gathered: waking a thread for each line costs more than the line.
const GATHER: Duration = Duration::from_millis(10);
/// How long the end of the program waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Where lines go. Cheap to clone.
#[derive(Clone)]
pub struct LogSink {
    shared: Arc<Shared>,
    dropped: IntCounter,
}

/// Writes the last lines when it is dropped.
pub struct LogGuard(Arc<Shared>);

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    /// Something is there to be written, or the end has come.
    woken: Condvar,
    /// The thread has written everything and ended.
    ended: Condvar,
}

#[derive(Default)]
struct Pending {
    text: Vec<u8>,
    is_ending: bool,
    has_ended: bool,
}

impl LogSink {
    /// Starts the writing thread.
    pub fn start(output: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<(Self, LogGuard)> {
        let shared = Arc::new(Shared::default());
        let written = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || written.write_lines(output))?;
        Ok((Self { shared: Arc::clone(&shared), dropped }, LogGuard(shared)))
    }

    /// The same, for lines of another kind: those that are dropped are counted apart.
    pub fn counting(&self, dropped: IntCounter) -> Self {
        Self { shared: Arc::clone(&self.shared), dropped }
    }

    /// Queues one line, which ends with a newline.
    pub fn write_line(&self, line: &[u8]) {
        self.write_within(line, WAITING_BYTES_MAX);
    }

    /// Queues a line about somebody who is not authenticated: strangers cannot crowd out the others.
    pub fn write_line_of_stranger(&self, line: &[u8]) {
        self.write_within(line, STRANGERS_BYTES_MAX);
    }

    fn write_within(&self, line: &[u8], bytes_max: usize) {
        let mut pending = self.shared.pending.lock();
        if pending.text.len() + line.len() > bytes_max {
            drop(pending);
            self.dropped.inc();
            return;
        }
        let was_empty = pending.text.is_empty();
        pending.text.extend_from_slice(line);
        drop(pending);
        if was_empty {
            self.shared.woken.notify_one();
        }
    }
}

impl Shared {
    fn write_lines(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        loop {
            let mut pending = self.pending.lock();
            while pending.text.is_empty() && !pending.is_ending {
                self.woken.wait(&mut pending);
            }
            drop(pending);
            thread::sleep(GATHER);
            let mut pending = self.pending.lock();
            let is_ending = pending.is_ending;
            std::mem::swap(&mut batch, &mut pending.text);
            drop(pending);
            // A log that cannot be written must not end the service.
            let _ = output.write_all(&batch).and_then(|()| output.flush());
            batch.clear();
            if is_ending {
                self.pending.lock().has_ended = true;
                self.ended.notify_all();
                return;
            }
        }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let mut pending = self.0.pending.lock();
        pending.is_ending = true;
        self.0.woken.notify_one();
        while !pending.has_ended {
            if self.0.ended.wait_for(&mut pending, FLUSH_TIMEOUT).timed_out() {
                return;
            }
        }
    }
}

/// Sends `tracing` events of this program to `sink` as JSON, and spans to `span_layer`. `filter` has the syntax of
/// `EnvFilter`; it has no say in spans.
pub fn subscribe(sink: LogSink, filter: &str, span_layer: Option<SpanLayer>) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log filter `{filter}`: {error}"))?;
    let no_spans =
        Directive::from_str(&format!("{}=off", spans::TARGET)).map_err(|error| error.to_string())?;
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_writer(SinkWriter(sink))
        .with_filter(filter.add_directive(no_spans));
    let only_spans = Targets::new().with_target(spans::TARGET, LevelFilter::INFO);
    let span_layer = span_layer.map(|layer| layer.with_filter(only_spans));
    let subscriber = tracing_subscriber::registry().with(span_layer).with(lines);
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())
}

/// As a log line has it.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// `2026-11-22T03:04:05.678Z` (RFC 3339).
pub fn timestamp(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let [year @ .., _, m1, m0, _, d1, d0, _, h1, h0, _, n1, n0, _, s1, s0, _, f2, f1, f0, _] = &mut text;
    write_digits(year, time.year().unsigned_abs());
    for (places, number) in [
        ([m1, m0], time.month().into()),
        ([d1, d0], time.day()),
        ([h1, h0], time.hour()),
        ([n1, n0], time.minute()),
        ([s1, s0], time.second()),
    ] {
        write_digits(places, number.into());
    }
    write_digits([f2, f1, f0], time.millisecond().into());
    str::from_utf8(&text).unwrap_or_default().to_owned()
}

/// The last digits of a number, one a place: the machinery of `format!` costs a request ten times as much.
fn write_digits<'t>(
    places: impl IntoIterator<Item = &'t mut u8, IntoIter: DoubleEndedIterator>,
    mut number: u32,
) {
    for place in places.into_iter().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
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
            self.sink.write_line(&self.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use prometheus::IntCounter;

    use super::{LogSink, WAITING_BYTES_MAX};

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
            sink.write_line(b"line\n");
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
        for _ in 0..WAITING_BYTES_MAX / 1000 * 2 + 1 {
            sink.write_line(&[b'x'; 1000]);
        }
        assert!(dropped.get() > 0);
        drop(release);
        drop(guard);
    }
}
