//! The byte stream under hyper: notes what moves on it, and lingers before it closes on a client that still sends.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;

use crate::http::activity::LINGER_TIMEOUT;
use crate::http::activity::Stage;
use crate::http::connection::Connection;

/// How much is read and thrown away after we have closed our side. More than this waits in the kernel.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// `stream`, whose movements are noted in the [`Connection`].
pub(super) struct WatchedIo<IO> {
    stream: IO,
    connection: Arc<Connection>,
    has_ended: bool,
    is_shut: bool,
    linger: Linger,
}

impl<IO> WatchedIo<IO> {
    pub(super) fn new(stream: IO, connection: Arc<Connection>) -> Self {
        Self { stream, connection, has_ended: false, is_shut: false, linger: Linger::new() }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for WatchedIo<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled_before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > filled_before {
            this.connection.activity().received();
        } else {
            this.has_ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WatchedIo<IO> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(context))?;
        this.connection.activity().flushed();
        Poll::Ready(Ok(()))
    }

    /// Closing a socket that holds unread bytes sends a reset, and a client that is still sending then sees the
    /// reset instead of the answer that says why. So where it may be, close our side and wait for its end.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.is_shut = true;
            if this.has_ended || !this.connection.activity().is_cut_short() {
                this.has_ended = true;
            } else {
                this.connection.activity().enter(Stage::Lingering);
            }
        }
        if !this.has_ended {
            ready!(this.linger.poll_end(&mut this.stream, context));
            this.has_ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// Throws away what a client still sends.
struct Linger {
    bytes_left: usize,
}

impl Linger {
    fn new() -> Self {
        Self { bytes_left: LINGER_BYTES_MAX }
    }

    /// Ready when the client has closed its side. Pending for ever once [`LINGER_BYTES_MAX`] have come: the
    /// caller's timer ends it.
    fn poll_end<IO: AsyncRead + Unpin>(&mut self, stream: &mut IO, context: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0_u8; 4096];
        while self.bytes_left > 0 {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
            self.bytes_left = self.bytes_left.saturating_sub(buffer.filled().len());
        }
        Poll::Pending
    }
}

/// Closes `stream` so that what was written last, for example a TLS alert, arrives before any reset.
pub(super) async fn close_gently<IO: AsyncRead + AsyncWrite + Unpin>(mut stream: IO) {
    let mut linger = Linger::new();
    let closing = async {
        if stream.shutdown().await.is_ok() {
            std::future::poll_fn(|context| linger.poll_end(&mut stream, context)).await;
        }
    };
    // Either way the stream is dropped now.
    let _ = tokio::time::timeout(LINGER_TIMEOUT, closing).await;
}
