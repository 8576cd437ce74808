//! Clients that take too long: over a head, a body, a response, the next request. Time here is simulated.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::config::Limits;
use crate::http::TimeOut;
use crate::http::tests::support::Event;
use crate::http::tests::support::Pipe;
use crate::http::tests::support::Site;
use crate::http::tests::support::limits;
use crate::http::tests::support::read_to_end;
use crate::http::tests::support::read_until;

const GET: &[u8] = b"GET /authority HTTP/1.1\r\nhost: localhost\r\n\r\n";
const HEAD_SECONDS: u64 = 10;
const BODY_SECONDS: u64 = 5;
const IDLE_SECONDS: u64 = 600;

fn short() -> Limits {
    Limits {
        header_read_timeout: Duration::from_secs(HEAD_SECONDS),
        body_read_timeout: Duration::from_secs(BODY_SECONDS),
        idle_timeout: Duration::from_secs(IDLE_SECONDS),
        ..limits()
    }
}

/// Seconds from `start` until the server has closed `pipe`, to the nearest.
async fn seconds_to_the_end(pipe: &mut Pipe, start: Instant) -> u64 {
    read_to_end(&mut pipe.client).await.unwrap();
    (start.elapsed() + Duration::from_millis(500)).as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_sends_nothing_is_closed() {
    let mut pipe = Pipe::new(short());
    assert_eq!(seconds_to_the_end(&mut pipe, Instant::now()).await, HEAD_SECONDS);
    assert_eq!(pipe.recorder.events(), [Event::TimedOut(TimeOut::Head)]);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_in_is_cut_from_its_first_byte() {
    let mut pipe = Pipe::new(short());
    let start = Instant::now();
    for byte in GET.iter().take(36) {
        if pipe.client.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(750)).await;
    }
    assert_eq!(start.elapsed().as_secs(), HEAD_SECONDS);
    assert_eq!(pipe.recorder.events(), [Event::TimedOut(TimeOut::Head)]);
}

#[tokio::test(start_paused = true)]
async fn a_second_head_that_stalls_is_cut_as_well() {
    let mut pipe = Pipe::new(short());
    pipe.client.write_all(GET).await.unwrap();
    read_until(&mut pipe.client, "\r\n\r\nlocalhost").await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    pipe.client.write_all(b"GET").await.unwrap();
    assert_eq!(seconds_to_the_end(&mut pipe, Instant::now()).await, HEAD_SECONDS);
    assert_eq!(pipe.recorder.events(), [Event::TimedOut(TimeOut::Head)]);
}

/// Inventory 14: KMS polls every few minutes, and a new handshake would break its budget.
#[tokio::test(start_paused = true)]
async fn a_kept_connection_is_held_for_the_idle_time_and_no_longer() {
    let mut pipe = Pipe::new(short());
    for _ in 0..3 {
        pipe.client.write_all(GET).await.unwrap();
        read_until(&mut pipe.client, "\r\n\r\nlocalhost").await;
        tokio::time::sleep(Duration::from_secs(IDLE_SECONDS - 1)).await;
    }
    pipe.client.write_all(GET).await.unwrap();
    read_until(&mut pipe.client, "\r\n\r\nlocalhost").await;
    assert_eq!(seconds_to_the_end(&mut pipe, Instant::now()).await, IDLE_SECONDS);
    assert_eq!(pipe.recorder.events(), [Event::TimedOut(TimeOut::Idle)]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_answered_and_the_connection_closed() {
    let mut pipe = Pipe::new(short());
    let start = Instant::now();
    let request = b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhe";
    pipe.client.write_all(request).await.unwrap();
    let response = read_to_end(&mut pipe.client).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), BODY_SECONDS);
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert!(response.contains("connection: close\r\n"), "{response}");
    assert_eq!(pipe.recorder.events(), [Event::TimedOut(TimeOut::Body)]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_in_is_cut_however_steady_it_is() {
    let mut pipe = Pipe::new(short());
    let start = Instant::now();
    let request = b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n";
    pipe.client.write_all(request).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(&mut pipe.client);
    let response = tokio::select! {
        response = read_until(&mut reader, "\r\n\r\ntoo slow") => response,
        () = async {
            loop {
                writer.write_all(b"x").await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        } => unreachable!(),
    };
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert_eq!(start.elapsed().as_secs(), BODY_SECONDS);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_response_is_cut() {
    let mut pipe = Pipe::with_bytes_max(short(), 64);
    let start = Instant::now();
    pipe.client.write_all(GET).await.unwrap();
    pipe.serving.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), BODY_SECONDS);
    assert_eq!(pipe.recorder.events(), [Event::TimedOut(TimeOut::Response)]);
    // What fitted into the pipe, and no end of the headers in it.
    assert_eq!(read_to_end(&mut pipe.client).await.unwrap().len(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_not_the_clients_fault() {
    let mut pipe = Pipe::new(short());
    pipe.client.write_all(b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    pipe.application.waiting.subscribe().wait_for(|waiting| *waiting == 1).await.unwrap();
    tokio::time::advance(Duration::from_secs(IDLE_SECONDS - 1)).await;
    pipe.application.gate.add_permits(1);
    read_until(&mut pipe.client, "\r\n\r\nwaited").await;
    assert_eq!(pipe.recorder.events(), []);
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_that_never_closes_is_not_waited_for() {
    let mut pipe = Pipe::new(short());
    let start = Instant::now();
    let request = b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n";
    pipe.client.write_all(request).await.unwrap();
    pipe.serving.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 2);
    let response = read_to_end(&mut pipe.client).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
}

#[tokio::test]
async fn a_silent_socket_is_closed() {
    let site = Site::plain(Limits { header_read_timeout: Duration::from_millis(20), ..limits() });
    let mut client = site.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
    assert!(!matches!(client.read(&mut [0; 16]).await, Ok(1..)));
    site.recorder.saw(Event::Closed).await;
    assert!(site.recorder.events().contains(&Event::TimedOut(TimeOut::Head)));
}
