//! A web server that something is sent to, and that can misbehave.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a receiver does with a request.
#[derive(Clone, Copy)]
pub enum Conduct {
    Answer(u16),
    Hang,
    HangUp,
}

/// A request: its head in lower case, and its body.
pub type Received = (String, Vec<u8>);

/// A web server that is told something, or not.
pub struct Receiver {
    pub port: u16,
    conduct: Arc<Mutex<Conduct>>,
    requests: Arc<AtomicUsize>,
    accepted: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    pub fn start(conduct: Conduct) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Self {
            port: listener.local_addr().unwrap().port(),
            conduct: Arc::new(Mutex::new(conduct)),
            requests: Arc::default(),
            accepted: Arc::default(),
        };
        let (conduct, requests, accepted) =
            (receiver.conduct.clone(), receiver.requests.clone(), receiver.accepted.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (conduct, requests, accepted) = (conduct.clone(), requests.clone(), accepted.clone());
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    while let Some(received) = request(&mut stream) {
                        let conduct = *conduct.lock().unwrap();
                        if matches!(conduct, Conduct::Answer(200)) {
                            accepted.lock().unwrap().push(received);
                        }
                        requests.fetch_add(1, Ordering::SeqCst);
                        match conduct {
                            Conduct::Answer(status) => {
                                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                                stream.write_all(answer.as_bytes()).unwrap();
                            }
                            // Until the client goes.
                            Conduct::Hang => drop(stream.read(&mut [0])),
                            Conduct::HangUp => return,
                        }
                    }
                });
            }
        });
        receiver
    }

    pub fn behave(&self, conduct: Conduct) {
        *self.conduct.lock().unwrap() = conduct;
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// What was answered with 200.
    pub fn accepted(&self) -> Vec<Received> {
        self.accepted.lock().unwrap().clone()
    }
}

/// Nothing once the client has gone, or is silent.
fn request(stream: &mut TcpStream) -> Option<Received> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut read, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let end = read.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(read[..end].to_vec()).unwrap().to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let body = &read[end + 4..];
            if body.len() >= length.parse().unwrap() {
                return Some((head, body.to_vec()));
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(bytes) => read.extend_from_slice(&chunk[..bytes]),
        }
    }
}
