//! Why there is no answer. An answer that refuses is none of these.

use std::error::Error;
use std::fmt;
use std::io;

use super::InvalidRequest;

/// Why there is no answer. Time-outs are kept apart, because AWS KMS retries one and not the others.
#[derive(Debug)]
pub enum Failure {
    /// Connected, but the answer did not come in time.
    AnswerTimeout,
    /// The answer is larger than any that a proxy has reason to send.
    AnswerTooLarge,
    /// The connection ended before anything of an answer came.
    Closed(io::ErrorKind),
    /// Name resolution or TCP failed.
    Connect(io::Error),
    /// No TCP connection in time.
    ConnectTimeout,
    /// The connection ended in the middle of an answer.
    Cut(io::ErrorKind),
    /// What came is not HTTP.
    Protocol(String),
    /// The request cannot be sent at all; nothing reached the network.
    Request(InvalidRequest),
    /// TLS failed, on either side.
    Tls(rustls::Error),
    /// The connection ended in the middle of the TLS handshake.
    TlsClosed(io::ErrorKind),
    /// Connected, but TLS was not agreed on in time.
    TlsTimeout,
}

impl Failure {
    /// Reads the causes of `error`, because the layers in between wrap each other's errors.
    pub(super) fn from_chain(error: &(dyn Error + 'static), is_http2: bool) -> Self {
        let mut cause = Some(error);
        let mut closed = None;
        let mut is_malformed = false;
        let mut tls = None;
        while let Some(error) = cause {
            if let Some(tls) = error.downcast_ref::<rustls::Error>() {
                return Self::Tls(tls.clone());
            }
            let http2 = error.downcast_ref::<h2::Error>();
            let io = http2.and_then(h2::Error::get_io).or_else(|| error.downcast_ref());
            // Errors of TLS are of this kind. HTTP/2 keeps nothing of them but kind and text; HTTP/1.1 keeps them
            // whole, and has the same kind for chunks that are none.
            let invalid = io.filter(|io| is_about_content(io));
            tls = tls.or(invalid.filter(|io| is_http2 && io.kind() == io::ErrorKind::InvalidData));
            is_malformed |= invalid.is_some();
            closed = closed
                .or(io.map(io::Error::kind))
                .or_else(|| closed_http(error))
                .or_else(|| http2.and_then(closed_http2));
            // An `io::Error` made of another error hides it from `source`.
            cause = io.and_then(io::Error::get_ref).map(|inner| inner as _).or_else(|| error.source());
        }
        if let Some(tls) = tls {
            return Self::Tls(rustls::Error::General(tls.to_string()));
        }
        if is_malformed {
            return Self::Protocol(error.to_string());
        }
        closed.map_or_else(|| Self::Protocol(error.to_string()), Self::Closed)
    }
}

/// Of what was read, not of the connection.
fn is_about_content(error: &io::Error) -> bool {
    let is_invalid = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput);
    is_invalid && error.raw_os_error().is_none()
}

fn closed_http(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let error = error.downcast_ref::<hyper::Error>()?;
    (error.is_closed() || error.is_canceled() || error.is_incomplete_message())
        .then_some(io::ErrorKind::UnexpectedEof)
}

/// The server says that it has not looked at the request (RFC 9113, 6.8 and 8.7).
fn closed_http2(error: &h2::Error) -> Option<io::ErrorKind> {
    let is_untouched = match error.reason() {
        Some(h2::Reason::NO_ERROR) => error.is_go_away(),
        reason => reason == Some(h2::Reason::REFUSED_STREAM),
    };
    is_untouched.then_some(io::ErrorKind::ConnectionAborted)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnswerTimeout => f.write_str("no answer in time"),
            Self::AnswerTooLarge => f.write_str("the answer is too large"),
            Self::Closed(kind) => write!(f, "the connection ended without an answer: {kind}"),
            Self::Connect(error) => write!(f, "cannot connect: {error}"),
            Self::ConnectTimeout => f.write_str("no connection in time"),
            Self::Cut(kind) => write!(f, "the connection ended in the middle of the answer: {kind}"),
            Self::Protocol(error) => write!(f, "not an HTTP answer: {error}"),
            Self::Request(error) => write!(f, "{error}"),
            Self::Tls(error) => write!(f, "TLS failed: {error}"),
            Self::TlsClosed(kind) => write!(f, "the connection ended during the TLS handshake: {kind}"),
            Self::TlsTimeout => f.write_str("no TLS connection in time"),
        }
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::client::conn::http2::SendRequest;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Failure;

    const ALERT: &str = "received fatal alert: CertificateRequired";

    #[test]
    fn causes_are_found_whatever_wraps_them() {
        let wrapped = |inner: io::Error| Failure::from_chain(&io::Error::other(inner), false);
        let tls = rustls::Error::DecryptError;
        let refused = io::Error::new(io::ErrorKind::InvalidData, tls.clone());
        assert!(matches!(wrapped(refused), Failure::Tls(found) if found == tls));
    }

    #[test]
    fn content_that_is_invalid_is_no_failure_of_tls_and_no_end_of_the_connection() {
        for kind in [io::ErrorKind::InvalidData, io::ErrorKind::InvalidInput] {
            let chunk = io::Error::new(kind, "invalid chunk size: overflow");
            assert!(
                matches!(Failure::from_chain(&io::Error::other(chunk), false), Failure::Protocol(_)),
                "{kind}"
            );
        }
    }

    #[tokio::test]
    async fn http_2_keeps_of_an_alert_its_text_alone() {
        let stream = Failing(|| io::Error::new(io::ErrorKind::InvalidData, ALERT));
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (_sender, driver): (SendRequest<Full<Bytes>>, _) = handshake.await.unwrap();
        let failure = Failure::from_chain(&driver.await.unwrap_err(), true);
        assert!(matches!(&failure, Failure::Tls(rustls::Error::General(text)) if text == ALERT), "{failure}");
    }

    /// Takes everything, and fails to read.
    struct Failing(fn() -> io::Error);

    impl AsyncRead for Failing {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err((self.0)()))
        }
    }

    impl AsyncWrite for Failing {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_stream_that_http_2_did_not_look_at_is_closed_and_any_other_is_broken() {
        let failure = |reason: h2::Reason| Failure::from_chain(&h2::Error::from(reason), true);
        assert!(matches!(failure(h2::Reason::REFUSED_STREAM), Failure::Closed(_)));
        for reason in [h2::Reason::NO_ERROR, h2::Reason::PROTOCOL_ERROR, h2::Reason::INTERNAL_ERROR] {
            assert!(matches!(failure(reason), Failure::Protocol(_)), "{reason}");
        }
    }
}
