//! TCP to the first of several addresses that takes it (RFC 8305, in small).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

/// Far above a round trip to a proxy that answers in time, and a small part of the time that a KMS has.
const HEAD_START: Duration = Duration::from_millis(50);
/// More than can be tried in the time that there is.
const ADDRESSES_MAX: usize = 8;

/// Of addresses in the order of preference each has a head start on the next, unless it fails before.
pub(super) async fn dial(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let addresses = alternating(addresses);
    let mut waiting = addresses.iter().take(ADDRESSES_MAX);
    let mut attempts = Vec::new();
    let mut failure = None;
    loop {
        let is_one_more = waiting.next().map(|address| attempts.push(attempt(*address))).is_some();
        if attempts.is_empty() {
            return Err(failure.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()));
        }
        tokio::select! {
            biased;
            result = first(&mut attempts) => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Some(error),
            },
            () = sleep(HEAD_START), if is_one_more => {}
        }
    }
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

fn attempt(address: SocketAddr) -> Attempt {
    Box::pin(TcpStream::connect(address))
}

/// The next that ends, taken out.
async fn first(attempts: &mut Vec<Attempt>) -> io::Result<TcpStream> {
    std::future::poll_fn(|context| {
        for (index, attempt) in attempts.iter_mut().enumerate() {
            if let Poll::Ready(result) = attempt.as_mut().poll(context) {
                drop(attempts.swap_remove(index));
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    })
    .await
}

/// The families by turns, that of the first address first: often one of them leads nowhere altogether.
fn alternating(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_ipv4_first = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.iter().copied().partition(|address: &SocketAddr| address.is_ipv4() == is_ipv4_first);
    let mut other = other.into_iter();
    let mut turns: Vec<_> = preferred.into_iter().flat_map(|address| [Some(address), other.next()]).collect();
    turns.extend(other.map(Some));
    turns.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::time::{Instant, timeout};

    use super::{ADDRESSES_MAX, HEAD_START, alternating, dial};

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Takes no further connection while what is returned lives.
    async fn black_hole() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = timeout(HEAD_START, TcpStream::connect(address)).await {
            waiting.push(stream.unwrap());
        }
        (address, listener, waiting)
    }

    async fn unused() -> SocketAddr {
        listener().await.1
    }

    #[tokio::test]
    async fn addresses_that_lead_nowhere_cost_their_head_start_and_those_that_refuse_nothing() {
        let (_good, good) = listener().await;
        let (nowhere, _listener, _waiting) = black_hole().await;
        let unused = unused().await;
        for (addresses, head_starts) in [
            (vec![good, nowhere], 0),
            (vec![nowhere, good], 1),
            (vec![nowhere, nowhere, good], 2),
            ([vec![unused; 7], vec![good]].concat(), 0),
            (vec![unused, nowhere, unused, good], 1),
        ] {
            let started = Instant::now();
            let stream = timeout(Duration::from_secs(30), dial(&addresses)).await.unwrap().unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good);
            assert!(started.elapsed() >= head_starts * HEAD_START, "{addresses:?}");
            assert!(started.elapsed() < (head_starts + 5) * HEAD_START, "{addresses:?}");
        }
    }

    #[tokio::test]
    async fn who_finds_nobody_says_why() {
        let unused = unused().await;
        let refused = dial(&[unused; 3]).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        dial(&[]).await.unwrap_err();
        let (_good, good) = listener().await;
        let mut many = vec![unused; ADDRESSES_MAX];
        many.push(good);
        dial(&many).await.unwrap_err();
    }

    #[test]
    fn the_families_take_turns() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let [a, b, c] = ["[::1]:1", "[::2]:1", "[::3]:1"].map(address);
        let [x, y] = ["127.0.0.1:1", "127.0.0.2:1"].map(address);
        assert_eq!(alternating(&[a, b, c, x, y]), [a, x, b, y, c]);
        assert_eq!(alternating(&[x, a, b, c]), [x, a, b, c]);
        assert_eq!(alternating(&[a, b]), [a, b]);
        assert_eq!(alternating(&[]), []);
    }
}
