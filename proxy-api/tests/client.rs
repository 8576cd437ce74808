//! The client against servers that answer well, late, too much, or not at all. TLS is tested with `holdfast check`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proxy_api::client::{Client, Deadlines, Endpoint, Failure, HttpVersions, Pool, Rejection, Signer};
use proxy_api::error::ErrorName;
use proxy_api::wire::{HealthRequest, HealthResponse, RequestMetadata};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

const CONNECTIONS_MAX: usize = 4;
const NOW: u64 = 1_700_000_000;
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(50);

/// What the server does with each request.
#[derive(Clone, Copy)]
enum Behaviour {
    Answer(&'static str),
    AnswerAndClose(&'static str),
    Close,
    /// Ends in the middle of the head, and of the body.
    CutHead,
    CutBody,
    Endless,
    Garbage,
    /// Exactly this.
    Raw(&'static str),
    Silence,
}

struct Server {
    host: String,
    connections: Arc<AtomicUsize>,
    /// Ends with the server.
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut streams = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                streams.spawn(serve(stream, behaviour));
            }
        });
        Self { host, connections, _tasks: tasks }
    }

    fn client(&self, total: Duration) -> Client {
        client(&self.host, total)
    }
}

fn client(host: &str, total: Duration) -> Client {
    let endpoint = Endpoint::http(host, HttpVersions::Http1).unwrap();
    let pool = Pool::new(endpoint, Deadlines { connect: total, total }, CONNECTIONS_MAX);
    Client::new(pool, Signer::new("ABCDEFGHIJKLMNOP2345", "secret", "us-east-1"), "p")
}

async fn serve(mut stream: TcpStream, behaviour: Behaviour) {
    let mut buffer = vec![0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let (answer, status) = match behaviour {
            Behaviour::Answer(body) | Behaviour::AnswerAndClose(body) => (body, 200),
            Behaviour::Close => return,
            Behaviour::CutHead => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-").await;
                return;
            }
            Behaviour::CutBody => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{").await;
                return;
            }
            Behaviour::Garbage => ("", 0),
            Behaviour::Raw(answer) => {
                stream.write_all(answer.as_bytes()).await.unwrap();
                continue;
            }
            Behaviour::Silence => continue,
            Behaviour::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                while stream.write_all(&buffer).await.is_ok() {}
                return;
            }
        };
        let status = if answer.contains("errorName") { 429 } else { status };
        let head = format!("HTTP/1.1 {status:03} X\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        if stream.write_all(head.as_bytes()).await.is_err()
            || matches!(behaviour, Behaviour::AnswerAndClose(_))
        {
            return;
        }
    }
}

const HEALTHY: &str = r#"{"xksProxyFleetSize":1,"xksProxyVendor":"v","xksProxyModel":"m","ekmVendor":"e",
    "ekmFleetDetails":[{"id":"1","model":"m","healthStatus":"ACTIVE"}]}"#;

fn request() -> HealthRequest<'static> {
    HealthRequest {
        request_metadata: RequestMetadata {
            kms_operation: Some("KmsHealthCheck".into()),
            kms_request_id: Some("1".into()),
            ..RequestMetadata::default()
        },
    }
}

#[tokio::test]
async fn connections_are_kept_and_answers_read() {
    let server = Server::start(Behaviour::Answer(HEALTHY)).await;
    let client = server.client(LONG);
    for _ in 0..3 {
        let answer = client.health(&request(), NOW).await.unwrap();
        assert_eq!(answer.response::<HealthResponse<'_>>().unwrap().xks_proxy_fleet_size, 1);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_is_always_used_is_replaced_after_five_minutes() {
    let server = Server::start(Behaviour::Answer(HEALTHY)).await;
    let client = server.client(LONG);
    for connections in [1, 1, 1, 2, 2] {
        client.health(&request(), NOW).await.unwrap();
        assert_eq!(server.connections.load(Ordering::SeqCst), connections);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(110)).await;
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_replaced() {
    let server = Server::start(Behaviour::AnswerAndClose(HEALTHY)).await;
    let client = server.client(LONG);
    for connections in 1..4 {
        client.health(&request(), NOW).await.unwrap();
        assert_eq!(server.connections.load(Ordering::SeqCst), connections);
    }
}

#[tokio::test]
async fn a_burst_opens_no_more_connections_than_allowed_and_is_answered_nevertheless() {
    let server = Server::start(Behaviour::Answer(HEALTHY)).await;
    let client = Arc::new(server.client(LONG));
    let mut burst = JoinSet::new();
    for _ in 0..64 {
        let client = Arc::clone(&client);
        burst.spawn(async move { client.health(&request(), NOW).await.is_ok() });
    }
    assert!(burst.join_all().await.into_iter().all(|is_answered| is_answered));
    assert!(server.connections.load(Ordering::SeqCst) <= CONNECTIONS_MAX);
}

#[tokio::test]
async fn who_waits_for_a_connection_in_vain_fares_as_those_who_have_one() {
    let server = Server::start(Behaviour::Silence).await;
    let client = Arc::new(server.client(SHORT));
    let mut burst = JoinSet::new();
    for _ in 0..=CONNECTIONS_MAX {
        let client = Arc::clone(&client);
        burst.spawn(async move { client.health(&request(), NOW).await.unwrap_err() });
    }
    assert!(burst.join_all().await.iter().all(|failure| matches!(failure, Failure::AnswerTimeout)));
}

/// A listener that answers no further request for a connection, as long as those returned with it wait.
async fn black_hole() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // The kernel drops what asks for a connection while too many wait to be accepted.
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(SHORT, TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    (listener, waiting)
}

#[tokio::test]
async fn everybody_learns_that_there_is_no_connection_also_who_waits_for_others_to_open_one() {
    let (listener, _waiting) = black_hole().await;
    let client = Arc::new(client(&listener.local_addr().unwrap().to_string(), SHORT));
    let mut burst = JoinSet::new();
    for _ in 0..4 * CONNECTIONS_MAX {
        let client = Arc::clone(&client);
        burst.spawn(async move { client.health(&request(), NOW).await.unwrap_err() });
    }
    for failure in burst.join_all().await {
        assert!(matches!(failure, Failure::ConnectTimeout), "{failure}");
    }
}

#[tokio::test]
async fn who_waits_in_vain_blames_the_network_only_if_nobody_was_connected() {
    let total = Duration::from_millis(800);
    let (listener, _waiting) = black_hole().await;
    // One place is free again: of those who connect at once, one succeeds, and gets no answer.
    let _accepted = listener.accept().await.unwrap();
    let endpoint = Endpoint::http(&listener.local_addr().unwrap().to_string(), HttpVersions::Http1).unwrap();
    let deadlines = Deadlines { connect: total + total / 4, total };
    let pool = Pool::new(endpoint, deadlines, CONNECTIONS_MAX);
    let client = Arc::new(Client::new(pool, Signer::new("ABCDEFGHIJKLMNOP2345", "secret", "us-east-1"), "p"));
    let mut burst = JoinSet::new();
    for _ in 0..2 * CONNECTIONS_MAX {
        let client = Arc::clone(&client);
        burst.spawn(async move { client.health(&request(), NOW).await.unwrap_err() });
    }
    let failures = burst.join_all().await;
    let unconnected = failures.iter().filter(|failure| matches!(failure, Failure::ConnectTimeout)).count();
    let unanswered = failures.iter().filter(|failure| matches!(failure, Failure::AnswerTimeout)).count();
    assert_eq!((unconnected, unanswered), (CONNECTIONS_MAX - 1, CONNECTIONS_MAX + 1), "{failures:?}");
}

#[tokio::test]
async fn an_error_of_the_api_is_an_answer() {
    let server = Server::start(Behaviour::Answer(r#"{"errorName":"ThrottlingException"}"#)).await;
    let answer = server.client(LONG).health(&request(), NOW).await.unwrap();
    let rejection = answer.response::<HealthResponse<'_>>().unwrap_err();
    assert_eq!(rejection, Rejection::Refused { error: ErrorName::Throttling, message: None });
}

#[tokio::test]
async fn each_way_to_give_no_answer_has_its_name() {
    let failure = async |behaviour, total| {
        let server = Server::start(behaviour).await;
        server.client(total).health(&request(), NOW).await.unwrap_err()
    };
    assert!(matches!(failure(Behaviour::Silence, SHORT).await, Failure::AnswerTimeout));
    assert!(matches!(failure(Behaviour::Close, LONG).await, Failure::Closed(_)));
    assert!(matches!(failure(Behaviour::CutHead, LONG).await, Failure::Cut(_)));
    assert!(matches!(failure(Behaviour::CutBody, LONG).await, Failure::Cut(_)));
    assert!(matches!(failure(Behaviour::Endless, LONG).await, Failure::AnswerTooLarge));
    assert!(matches!(failure(Behaviour::Garbage, LONG).await, Failure::Protocol(_)));
}

#[tokio::test]
async fn an_answer_in_chunks_is_put_together() {
    let mut answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    let padded = format!("{HEALTHY}{}", " ".repeat(5000));
    for chunk in padded.as_bytes().chunks(97) {
        answer.push_str(&format!("{:x}\r\n{}\r\n", chunk.len(), str::from_utf8(chunk).unwrap()));
    }
    answer.push_str("0\r\n\r\n");
    let server = Server::start(Behaviour::Raw(answer.leak())).await;
    let answer = server.client(LONG).health(&request(), NOW).await.unwrap();
    assert_eq!(*answer.body, padded.as_bytes());
}

#[tokio::test]
async fn chunks_that_are_none_are_a_malformed_answer() {
    let extension = format!("1;{}\r\n", "x".repeat(64 * 1024));
    for body in
        [&extension, "10000000000000000\r\n", "1;a\nb\r\n", "x\r\n", "1\r\n{-", "0\r\n\u{0}: 1\r\n\r\n"]
    {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let server = Server::start(Behaviour::Raw(answer.leak())).await;
        let failure = server.client(LONG).health(&request(), NOW).await.unwrap_err();
        assert!(matches!(failure, Failure::Protocol(_)), "{body:?}: {failure:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_no_time_out() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let refused = client(&unused, LONG).health(&request(), NOW).await.unwrap_err();
    assert!(matches!(refused, Failure::Connect(_)));
}
