//! A listener from its start to its end: the port, the connection limit, the drain (peer fault 12).

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::config::Limits;
use crate::http::Drained;
use crate::http::Listener;
use crate::http::Settings;
use crate::http::TimeOut;
use crate::http::TlsSwitch;
use crate::http::tests::support::Event;
use crate::http::tests::support::Pki;
use crate::http::tests::support::Site;
use crate::http::tests::support::limits;
use crate::http::tests::support::load;
use crate::http::tests::support::read_to_end;
use crate::http::tests::support::read_until;
use crate::http::tests::support::settings;
use crate::http::tests::tls_client::Choice;
use crate::http::tests::tls_client::TlsClient;
use crate::http::tests::tls_client::post;
use crate::http::tests::tls_client::send;

const GET: &[u8] = b"GET /authority HTTP/1.1\r\nhost: localhost\r\n\r\n";
const WAIT: &[u8] = b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Returns once `requests` are being worked on.
async fn at_work(site: &Site, requests: usize) {
    site.application.waiting.subscribe().wait_for(|waiting| *waiting == requests).await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_it() {
    let site = Site::plain(limits());
    let taken = Settings { listen: site.address, ..settings(None, limits(), Arc::new(())) };
    let error = Listener::bind(taken).err().expect("the port is taken");
    let address = site.address;
    assert!(
        error
            .to_string()
            .starts_with(&format!("listener `test` cannot listen on {address}: Address already in use")),
        "{error}"
    );
}

#[tokio::test]
async fn a_client_may_connect_between_bind_and_serve() {
    let listener = Listener::bind(settings(None, limits(), Arc::new(()))).unwrap();
    TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
}

#[tokio::test]
async fn the_drain_finishes_what_is_in_flight_and_closes_what_is_idle() {
    let site = Site::plain(limits());
    let mut unused = site.connect().await;
    let mut idle = site.connect().await;
    idle.write_all(GET).await.unwrap();
    read_until(&mut idle, "\r\n\r\nlocalhost").await;
    let mut busy = site.connect().await;
    busy.write_all(WAIT).await.unwrap();
    at_work(&site, 1).await;

    site.stop();
    assert_eq!(read_to_end(&mut idle).await.unwrap(), "");
    assert_eq!(read_to_end(&mut unused).await.unwrap(), "");
    assert!(TcpStream::connect(site.address).await.is_err());
    site.application.gate.add_permits(1);
    let response = read_to_end(&mut busy).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains("connection: close\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\nwaited"), "{response}");
    assert_eq!(site.ended().await, Drained { cut: 0 });
}

#[tokio::test]
async fn the_drain_finishes_the_streams_of_http2() {
    let pki = Pki::new();
    let site = Site::tls(&pki.tls_files());
    let mut sender = TlsClient::new(&pki, &Choice { alpn: &["h2"], ..Choice::default() }).http2(&site).await;
    let mut late = sender.clone();
    let request = send(&mut sender, post(&site, "/wait", ""));
    let stop = async {
        at_work(&site, 1).await;
        site.stop();
        // A stream that is opened after the end was announced is refused, and the one before it is not.
        while late.ready().await.is_ok() {
            if send(&mut late, post(&site, "/echo", "")).await.is_err() {
                break;
            }
        }
        site.application.gate.add_permits(1);
    };
    let (answer, ()) = tokio::join!(request, stop);
    assert_eq!(answer.unwrap(), (200, "waited".to_owned()));
    assert_eq!(site.ended().await, Drained { cut: 0 });
}

#[tokio::test]
async fn the_drain_cuts_what_is_not_finished_in_time_and_says_how_many() {
    let site = Site::plain(Limits { shutdown_timeout: Duration::from_millis(20), ..limits() });
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = site.connect().await;
        client.write_all(WAIT).await.unwrap();
        clients.push(client);
    }
    at_work(&site, 3).await;
    site.stop();
    let recorder = Arc::clone(&site.recorder);
    assert_eq!(site.ended().await, Drained { cut: 3 });
    for mut client in clients {
        assert!(!read_to_end(&mut client).await.is_ok_and(|answer| !answer.is_empty()));
    }
    recorder.saw_times(Event::Closed, 3).await;
}

#[tokio::test]
async fn the_drain_does_not_wait_for_a_handshake() {
    let pki = Pki::new();
    let site = Site::tls(&pki.tls_files());
    let mut client = site.connect().await;
    site.recorder.saw(Event::Opened).await;
    site.stop();
    assert_eq!(read_to_end(&mut client).await.unwrap(), "");
    assert_eq!(site.ended().await, Drained { cut: 0 });
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_until_another_ends() {
    let site = Site::plain(Limits { connections_max: 2, ..limits() });
    let mut first = site.connect().await;
    let mut second = site.connect().await;
    for client in [&mut first, &mut second] {
        client.write_all(GET).await.unwrap();
        read_until(client, "\r\n\r\nlocalhost").await;
    }
    site.recorder.saw(Event::Exhausted).await;
    let mut third = site.connect().await;
    third.write_all(GET).await.unwrap();
    // The two that are in are served meanwhile, and the third is not let in.
    for client in [&mut first, &mut second] {
        client.write_all(GET).await.unwrap();
        read_until(client, "\r\n\r\nlocalhost").await;
    }
    assert_eq!(site.recorder.events().iter().filter(|event| **event == Event::Opened).count(), 2);
    drop(first);
    read_until(&mut third, "\r\n\r\nlocalhost").await;
    drop(second);
    site.stop();
    assert_eq!(site.ended().await, Drained { cut: 0 });
}

#[tokio::test]
async fn a_full_listener_can_be_stopped() {
    let site = Site::plain(Limits { connections_max: 1, ..limits() });
    let mut client = site.connect().await;
    site.recorder.saw(Event::Exhausted).await;
    site.stop();
    assert_eq!(read_to_end(&mut client).await.unwrap(), "");
    assert_eq!(site.ended().await, Drained { cut: 0 });
}

#[tokio::test]
async fn an_idle_http2_connection_is_told_to_go() {
    let pki = Pki::new();
    let switch = Arc::new(TlsSwitch::new(load(&pki.tls_files())));
    let site = Site::start(Some(switch), Limits { idle_timeout: Duration::from_millis(50), ..limits() });
    let mut sender = TlsClient::new(&pki, &Choice { alpn: &["h2"], ..Choice::default() }).http2(&site).await;
    assert_eq!(send(&mut sender, post(&site, "/echo", "hello")).await.unwrap().0, 200);
    site.recorder.saw(Event::TimedOut(TimeOut::Idle)).await;
    site.recorder.saw(Event::Closed).await;
    assert!(send(&mut sender, post(&site, "/echo", "hello")).await.is_err());
}
