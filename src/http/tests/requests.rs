//! Requests and their bodies on plain connections: caps, pipelining, panics.

use proptest::prelude::*;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::http::TimeOut;
use crate::http::tests::support::BODY_BYTES_MAX;
use crate::http::tests::support::Event;
use crate::http::tests::support::Pipe;
use crate::http::tests::support::Site;
use crate::http::tests::support::curl;
use crate::http::tests::support::limits;
use crate::http::tests::support::read_to_end;
use crate::http::tests::support::read_until;

const POST: &str = "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n";

#[tokio::test]
async fn a_connection_serves_request_after_request() {
    let site = Site::plain(limits());
    let mut client = site.connect().await;
    for _ in 0..3 {
        client.write_all(format!("{POST}hello").as_bytes()).await.unwrap();
        let response = read_until(&mut client, "\r\n\r\nhello").await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        assert!(response.contains("content-length: 5\r\n"), "{response}");
    }
}

#[tokio::test]
async fn a_body_in_pieces_arrives_whole() {
    let mut pipe = Pipe::with_bytes_max(limits(), 16);
    let body = "x".repeat(BODY_BYTES_MAX);
    let (mut reader, mut writer) = tokio::io::split(&mut pipe.client);
    for framing in ["content-length: 65536\r\n\r\n", "transfer-encoding: chunked\r\n\r\n10000\r\n"] {
        let end = if framing.contains("chunked") { "\r\n0\r\n\r\n" } else { "" };
        let request = format!("POST /echo HTTP/1.1\r\nhost: localhost\r\n{framing}{body}{end}");
        let answer = format!("\r\n\r\n{body}");
        let (response, sent) =
            tokio::join!(read_until(&mut reader, &answer), writer.write_all(request.as_bytes()));
        sent.unwrap();
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response:.80}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let site = Site::plain(limits());
    let mut client = site.connect().await;
    let first = "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nfirst";
    let second = "GET /authority HTTP/1.1\r\nhost: second\r\n\r\n";
    let third = "GET /authority HTTP/1.1\r\nhost: third\r\nconnection: close\r\n\r\n";
    client.write_all(format!("{first}{second}{third}").as_bytes()).await.unwrap();
    let responses = read_to_end(&mut client).await.unwrap();
    let bodies: Vec<&str> =
        responses.split("HTTP/1.1 200 OK").skip(1).map(|one| one.split("\r\n\r\n").nth(1).unwrap()).collect();
    assert_eq!(bodies, ["first", "second", "third"]);
}

#[tokio::test]
async fn a_body_at_the_cap_is_read_and_one_byte_more_is_not() {
    let site = Site::plain(limits());
    for (bytes, status) in [(BODY_BYTES_MAX, "200 OK"), (BODY_BYTES_MAX + 1, "413 Payload Too Large")] {
        for framing in [format!("content-length: {bytes}"), "transfer-encoding: chunked".to_owned()] {
            let mut client = site.connect().await;
            let head =
                format!("POST /echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{framing}\r\n\r\n");
            let body = "x".repeat(bytes);
            let body =
                if framing.contains("chunked") { format!("{bytes:x}\r\n{body}\r\n0\r\n\r\n") } else { body };
            client.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            let response = read_to_end(&mut client).await.unwrap();
            assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{framing}: {response:.80}");
        }
    }
}

#[tokio::test]
async fn a_body_announced_too_large_is_refused_before_a_byte_of_it_is_sent() {
    let site = Site::plain(limits());
    let mut client = site.connect().await;
    let head = "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 268435456\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let response = read_until(&mut client, "\r\n\r\ntoo large").await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    assert!(response.contains("connection: close\r\n"), "{response}");
    // The server has closed its side and waits for ours.
    assert_eq!(read_to_end(&mut client).await.unwrap(), "");
    drop(client);
    site.recorder.saw(Event::Closed).await;
}

/// Peer fault 6.
#[tokio::test]
async fn a_client_that_sends_256_mebibytes_all_the_same_gets_the_refusal_and_not_a_reset() {
    let site = Site::plain(limits());
    let mut client = site.connect().await;
    let head = "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 268435456\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let block = vec![b'x'; 64 * 1024];
    let (mut reader, mut writer) = client.into_split();
    let mut sent_bytes = 0;
    let response = tokio::select! {
        response = read_until(&mut reader, "\r\n\r\ntoo large") => response,
        () = async { while writer.write_all(&block).await.is_ok() { sent_bytes += block.len() } } => panic!("reset"),
    };
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    assert!(sent_bytes < 268_435_456, "{sent_bytes}");
}

#[tokio::test]
async fn a_chunked_body_without_end_is_cut_at_the_cap() {
    let site = Site::plain(limits());
    let client = site.connect().await;
    let (mut reader, mut writer) = client.into_split();
    let head = "POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    writer.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let response = tokio::select! {
        response = read_until(&mut reader, "\r\n\r\ntoo large") => response,
        () = async { while writer.write_all(chunk.as_bytes()).await.is_ok() {} } => panic!("reset"),
    };
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    assert!(response.contains("connection: close\r\n"), "{response}");
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_refused_without_sending_or_served() {
    let site = Site::plain(limits());
    for (bytes, answer) in
        [(5, "HTTP/1.1 100 Continue\r\n\r\n"), (268_435_456, "HTTP/1.1 413 Payload Too Large\r\n")]
    {
        let mut client = site.connect().await;
        let head = "POST /echo HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: ";
        client.write_all(format!("{head}{bytes}\r\n\r\n").as_bytes()).await.unwrap();
        read_until(&mut client, answer).await;
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_ends_the_connection_after_the_answer() {
    let site = Site::plain(limits());
    let mut client = site.connect().await;
    let head = "POST /ignore HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n";
    client.write_all(format!("{head}{}", "x".repeat(100_000)).as_bytes()).await.unwrap();
    let response = read_to_end(&mut client).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 404 "), "{response}");
    assert!(response.contains("connection: close\r\n"), "{response}");
}

#[tokio::test]
async fn a_head_over_the_limit_gets_431() {
    let site = Site::plain(limits());
    for head in [
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(33 * 1024)),
        format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(33 * 1024)),
        format!("GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(1000)),
        // Never finished, and far more of it than is read.
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}", "x".repeat(1024 * 1024)),
    ] {
        let mut client = site.connect().await;
        let (mut reader, mut writer) = client.split();
        // A write may fail once the server has had enough.
        let (response, _) =
            tokio::join!(read_until(&mut reader, "\r\n\r\n"), writer.write_all(head.as_bytes()));
        assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    }
    let mut client = site.connect().await;
    let head = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(30 * 1024));
    client.write_all(head.as_bytes()).await.unwrap();
    let response = read_until(&mut client, "\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[tokio::test]
async fn a_panic_answers_500_and_the_connection_lives_on() {
    let site = Site::plain(limits());
    let mut client = site.connect().await;
    client.write_all(b"GET /panic HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let response = read_until(&mut client, "\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 500 "), "{response}");
    site.recorder.saw(Event::Panicked).await;
    client.write_all(format!("{POST}hello").as_bytes()).await.unwrap();
    read_until(&mut client, "\r\n\r\nhello").await;
}

#[tokio::test]
async fn the_authority_is_the_host_header_and_none_where_there_are_two() {
    let site = Site::plain(limits());
    for (head, authority) in [
        ("GET /authority HTTP/1.1\r\nHost: a.example:8440\r\n\r\n", "a.example:8440"),
        ("GET http://b.example/authority HTTP/1.1\r\nHost: a.example\r\n\r\n", "b.example"),
        ("GET /authority HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", "none"),
        ("GET /authority HTTP/1.1\r\n\r\n", "none"),
    ] {
        let mut client = site.connect().await;
        client.write_all(head.as_bytes()).await.unwrap();
        read_until(&mut client, &format!("\r\n\r\n{authority}")).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_frees_its_connection() {
    let site = Site::plain(limits());
    for sent in [POST, "POST /echo HTTP/1.1\r\nho", "GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        let mut client = site.connect().await;
        client.write_all(sent.as_bytes()).await.unwrap();
    }
    site.recorder.saw_times(Event::Closed, 3).await;
    assert!(!site.recorder.events().contains(&Event::TimedOut(TimeOut::Head)));
}

#[tokio::test]
async fn curl_gets_an_answer() {
    let site = Site::plain(limits());
    let output = curl(&["-d", "hello", &site.url("/echo")]).await;
    assert!(output.contains("HTTP/1.1 200 OK"), "{output}");
    assert!(output.ends_with("hello"), "{output}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_leave_the_listener_serving(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let site = Site::plain(limits());
            let mut client = site.connect().await;
            client.write_all(&bytes).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer).await;
            let mut client = site.connect().await;
            client.write_all(format!("{POST}hello").as_bytes()).await.unwrap();
            read_until(&mut client, "\r\n\r\nhello").await;
        });
    }
}
