//! The stream on which everything but jobs crosses: a length, and a message.

use std::io;
use std::io::Read;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::key_manager::pkcs11::process::codec::{Reader, Wire, Writer};

/// Room for the keys of a large token.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
const LENGTH_BYTES: usize = 4;

pub(super) async fn write(stream: &mut (impl AsyncWriteExt + Unpin), message: &Writer) -> io::Result<()> {
    let length = message.as_bytes().len();
    let length = u32::try_from(length).ok().filter(|_| length <= MESSAGE_BYTES_MAX).ok_or_else(malformed)?;
    stream.write_all(&length.to_le_bytes()).await?;
    stream.write_all(message.as_bytes()).await
}

/// Nothing if the other end closed it.
pub(super) async fn read<T: Wire>(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Option<T>> {
    let mut length = [0; LENGTH_BYTES];
    match stream.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let mut message = room(length)?;
    stream.read_exact(&mut message).await?;
    parse(&message).map(Some)
}

/// The first message, for a process that has nothing else to do yet.
pub(super) fn read_blocking<T: Wire>(stream: &mut impl Read) -> io::Result<T> {
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length)?;
    let mut message = room(length)?;
    stream.read_exact(&mut message)?;
    parse(&message)
}

fn room(length: [u8; LENGTH_BYTES]) -> io::Result<Zeroizing<Vec<u8>>> {
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(|_| malformed())?;
    if length > MESSAGE_BYTES_MAX { Err(malformed()) } else { Ok(Zeroizing::new(vec![0; length])) }
}

fn parse<T: Wire>(message: &[u8]) -> io::Result<T> {
    Reader::message(message).map_err(|_| malformed())
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message that cannot be read")
}
