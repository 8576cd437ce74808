//! The threads that make PKCS#11 calls, each with a session.

use crossbeam_channel::Sender;
use tokio::sync::oneshot;

use crate::TokenOptions;
use crate::gcm::Token;
use crate::signing::Algorithm;

/// IV, and ciphertext with tag.
pub type Sealed = ([u8; 12], Vec<u8>);

pub enum Job {
    Encrypt(Vec<u8>, Vec<u8>, oneshot::Sender<Sealed>),
    Decrypt(Vec<u8>, Vec<u8>, Vec<u8>, oneshot::Sender<Option<Vec<u8>>>),
    Sign(Algorithm, Vec<u8>, oneshot::Sender<Vec<u8>>),
    /// Fresh bytes, and what they are encrypted to.
    DataKey(usize, Vec<u8>, oneshot::Sender<(Vec<u8>, Sealed)>),
}

pub fn start(options: &TokenOptions) -> Sender<Job> {
    let token = Box::leak(Box::new(Token::open(options)));
    let (sender, receiver) = crossbeam_channel::bounded::<Job>(256);
    for _ in 0..options.sessions {
        let (session, receiver) = (token.session(), receiver.clone());
        std::thread::spawn(move || {
            while let Ok(job) = receiver.recv() {
                match job {
                    Job::Encrypt(plaintext, aad, reply) => {
                        drop(reply.send(session.encrypt(&plaintext, &aad)))
                    }
                    Job::Decrypt(iv, sealed, aad, reply) => {
                        drop(reply.send(session.decrypt(&iv, &sealed, &aad)))
                    }
                    Job::Sign(algorithm, digest, reply) => drop(reply.send(session.sign(algorithm, &digest))),
                    Job::DataKey(bytes, aad, reply) => {
                        let plaintext = session.random(bytes);
                        let sealed = session.encrypt(&plaintext, &aad);
                        drop(reply.send((plaintext, sealed)));
                    }
                }
            }
        });
    }
    sender
}
