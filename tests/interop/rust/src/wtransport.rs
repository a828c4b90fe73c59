//! The crate wtransport. It leaves the codes of streams as they are on the wire, so this program does what every
//! program on it has to do: it maps them between WebTransport and HTTP/3.

mod scenarios;

use scenarios::{run, text, Client, Cut, Outcome, Receiver, Sender, Session};
use wtransport::endpoint::endpoint_side;
use wtransport::error::{ConnectionError, StreamReadError, StreamWriteError};
use wtransport::tls::Sha256Digest;
use wtransport::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, VarInt};

/// draft-ietf-webtrans-http3, section 4.4: the first code, and one in 31 is left out.
const FIRST: u64 = 0x52e4_a40f_a8db;

fn to_http3(code: u32) -> VarInt {
    let code = u64::from(code);
    VarInt::try_from(FIRST + code + code / 0x1e).expect("fits")
}

fn from_http3(code: VarInt) -> Outcome<u64> {
    let shifted = code.into_inner().checked_sub(FIRST).ok_or_else(|| format!("the code {code} is none of WebTransport"))?;
    Ok(shifted - shifted / 0x1f)
}

struct Wtransport(Endpoint<endpoint_side::Client>);

impl Client for Wtransport {
    type Session = Connection;
    const ON_CODES: &'static str = "the crate leaves the mapping of stream codes to its caller";
    const ON_CLOSE: &'static str = "the crate closes the connection, with the code as it is";

    fn new(hash: [u8; 32]) -> Outcome<Self> {
        let config = ClientConfig::builder()
            .with_bind_default()
            .with_server_certificate_hashes([Sha256Digest::new(hash)])
            .build();
        Endpoint::client(config).map(Wtransport).map_err(text)
    }

    async fn connect(&self, url: &str) -> Outcome<Connection> {
        self.0.connect(url).await.map_err(text)
    }
}

impl Session for Connection {
    type Sender = SendStream;
    type Receiver = RecvStream;

    async fn open_bidi(&self) -> Outcome<(SendStream, RecvStream)> {
        self.open_bi().await.map_err(text)?.await.map_err(text)
    }

    async fn open_uni(&self) -> Outcome<SendStream> {
        Connection::open_uni(self).await.map_err(text)?.await.map_err(text)
    }

    async fn accept_bidi(&self) -> Outcome<(SendStream, RecvStream)> {
        self.accept_bi().await.map_err(text)
    }

    async fn accept_uni(&self) -> Outcome<RecvStream> {
        Connection::accept_uni(self).await.map_err(text)
    }

    fn send_datagram(&self, data: &[u8]) -> Outcome<()> {
        Connection::send_datagram(self, data).map_err(text)
    }

    async fn receive_datagram(&self) -> Outcome<Vec<u8>> {
        Ok(Connection::receive_datagram(self).await.map_err(text)?.to_vec())
    }

    fn close(&self, code: u32, reason: &str) {
        Connection::close(self, VarInt::from_u32(code), reason.as_bytes());
    }

    /// The crate's `closed` tells of the QUIC connection; the session's code comes from whoever waits for something.
    async fn closed(&self) -> Outcome<(u64, String)> {
        match Connection::accept_uni(self).await {
            Err(ConnectionError::ApplicationClosed(close)) => {
                Ok((close.code().into_inner(), String::from_utf8_lossy(close.reason()).into_owned()))
            }
            Err(other) => Err(text(other)),
            Ok(_) => Err("there is a stream".into()),
        }
    }
}

impl Sender for SendStream {
    async fn write(&mut self, data: &[u8]) -> Outcome<()> {
        self.write_all(data).await.map_err(text)
    }

    async fn finish(&mut self) -> Outcome<()> {
        SendStream::finish(self).await.map_err(text)
    }

    fn reset(&mut self, code: u32) -> Outcome<()> {
        SendStream::reset(self, to_http3(code)).map_err(|_| "the stream is closed".into())
    }

    async fn stopped(&mut self) -> Outcome<u64> {
        match SendStream::stopped(self).await {
            StreamWriteError::Stopped(code) => from_http3(code),
            other => Err(text(other)),
        }
    }
}

impl Receiver for RecvStream {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Cut> {
        match RecvStream::read(self, buffer).await {
            Ok(n) => Ok(n.unwrap_or(0)),
            Err(StreamReadError::Reset(code)) => Err(from_http3(code).map_or_else(Cut::Other, Cut::Reset)),
            Err(other) => Err(Cut::Other(text(other))),
        }
    }

    fn stop(self, code: u32) -> Outcome<()> {
        RecvStream::stop(self, to_http3(code));
        Ok(())
    }
}

fn main() -> Outcome<()> {
    run::<Wtransport>("wtransport")
}
