//! The body of a request: refused by its announced length, read within a cap and a time, held once.

use std::fmt;
use std::future::Future;
use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use zeroize::Zeroizing;

use crate::http::connection::Connection;
use crate::http::counters::TimeOut;
use crate::secret::SecretBytes;
use crate::secret::grow;

/// A body that has not been read. One that is dropped unread costs an HTTP/1.1 client its connection.
pub struct Body {
    frames: hyper::body::Incoming,
    connection: Arc<Connection>,
    is_read: bool,
}

/// As much is allocated on a client's word, so that a usual body never moves.
const TRUSTED_BYTES: usize = 2048;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The client went away or broke the framing; no answer will reach it.
    Disconnected,
    TimedOut,
    TooLarge,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disconnected => "the client went away",
            Self::TimedOut => "the request body did not arrive in time",
            Self::TooLarge => "the request body is too large",
        })
    }
}

impl std::error::Error for BodyError {}

impl Body {
    pub(super) fn new(frames: hyper::body::Incoming, connection: Arc<Connection>) -> Self {
        let is_read = frames.is_end_stream();
        Self { frames, connection, is_read }
    }

    /// Whether the client announces no more than this; one that announces nothing does not.
    pub fn is_at_most(&self, bytes: usize) -> bool {
        let announced = self.frames.size_hint().upper();
        announced.is_some_and(|announced| announced <= u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    /// All of it. Nothing is read of a body that announces more than `bytes_max`, and reading one that
    /// announces nothing stops there.
    pub async fn read(mut self, bytes_max: usize) -> Result<SecretBytes, BodyError> {
        let timeout = self.connection.limits().body_read_timeout;
        let connection = Arc::clone(&self.connection);
        let mut reading = pin!(self.collect(bytes_max));
        // A small body comes in one packet with the head: look before a timer is set.
        match poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await {
            Poll::Ready(body) => body,
            Poll::Pending => tokio::time::timeout(timeout, reading).await.unwrap_or_else(|_| {
                connection.counters().timed_out(TimeOut::Body);
                Err(BodyError::TimedOut)
            }),
        }
    }

    async fn collect(&mut self, bytes_max: usize) -> Result<SecretBytes, BodyError> {
        let announced = self.frames.size_hint();
        if announced.lower() > u64::try_from(bytes_max).unwrap_or(u64::MAX) {
            return Err(BodyError::TooLarge);
        }
        let bytes_expected = announced.exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
        let mut body = Zeroizing::new(Vec::new());
        while let Some(data) = self.next_data().await? {
            if data.len() > bytes_max.saturating_sub(body.len()) {
                return Err(BodyError::TooLarge);
            }
            let bytes_needed = body.len() + data.len();
            if bytes_needed > body.capacity() {
                // What a client announces is not yet there: memory is for what it has sent.
                let bytes = bytes_expected.min(TRUSTED_BYTES).max(bytes_needed).max(2 * body.capacity());
                grow(&mut body, bytes.min(bytes_max));
            }
            body.extend_from_slice(&data);
        }
        self.is_read = true;
        Ok(SecretBytes::new(mem::take(&mut body)))
    }

    async fn next_data(&mut self) -> Result<Option<Bytes>, BodyError> {
        while let Some(frame) = self.frames.frame().await {
            // What is not data is trailers, which nobody here wants.
            if let Ok(data) = frame.map_err(|_| BodyError::Disconnected)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.is_read {
            self.connection.abandon_body();
        }
    }
}
