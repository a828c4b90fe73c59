//! The crate web-transport-quinn.

mod scenarios;

use scenarios::{run, text, Client, Cut, Outcome, Receiver, Sender, Session};
use url::Url;
use web_transport_quinn::{ReadError, RecvStream, SendStream, SessionError, WebTransportError};

struct Quinn(web_transport_quinn::Client);

impl Client for Quinn {
    type Session = web_transport_quinn::Session;

    fn new(hash: [u8; 32]) -> Outcome<Self> {
        let builder = web_transport_quinn::ClientBuilder::new();
        builder.with_server_certificate_hashes(vec![hash.to_vec()]).map(Quinn).map_err(text)
    }

    async fn connect(&self, url: &str) -> Outcome<web_transport_quinn::Session> {
        self.0.connect(Url::parse(url).map_err(text)?).await.map_err(text)
    }
}

impl Session for web_transport_quinn::Session {
    type Sender = SendStream;
    type Receiver = RecvStream;

    async fn open_bidi(&self) -> Outcome<(SendStream, RecvStream)> {
        self.open_bi().await.map_err(text)
    }

    async fn open_uni(&self) -> Outcome<SendStream> {
        web_transport_quinn::Session::open_uni(self).await.map_err(text)
    }

    async fn accept_bidi(&self) -> Outcome<(SendStream, RecvStream)> {
        self.accept_bi().await.map_err(text)
    }

    async fn accept_uni(&self) -> Outcome<RecvStream> {
        web_transport_quinn::Session::accept_uni(self).await.map_err(text)
    }

    fn send_datagram(&self, data: &[u8]) -> Outcome<()> {
        web_transport_quinn::Session::send_datagram(self, data.to_vec().into()).map_err(text)
    }

    async fn receive_datagram(&self) -> Outcome<Vec<u8>> {
        Ok(self.read_datagram().await.map_err(text)?.to_vec())
    }

    fn close(&self, code: u32, reason: &str) {
        web_transport_quinn::Session::close(self, code, reason.as_bytes());
    }

    async fn closed(&self) -> Outcome<(u64, String)> {
        match web_transport_quinn::Session::closed(self).await {
            SessionError::WebTransportError(WebTransportError::Closed(code, reason)) => Ok((code.into(), reason)),
            other => Err(text(other)),
        }
    }
}

impl Sender for SendStream {
    async fn write(&mut self, data: &[u8]) -> Outcome<()> {
        self.write_all(data).await.map_err(text)
    }

    async fn finish(&mut self) -> Outcome<()> {
        SendStream::finish(self).map_err(text)
    }

    fn reset(&mut self, code: u32) -> Outcome<()> {
        SendStream::reset(self, code).map_err(text)
    }

    async fn stopped(&mut self) -> Outcome<u64> {
        let code = SendStream::stopped(self).await.map_err(text)?;
        code.map(u64::from).ok_or_else(|| "no code".into())
    }
}

impl Receiver for RecvStream {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Cut> {
        match RecvStream::read(self, buffer).await {
            Ok(n) => Ok(n.unwrap_or(0)),
            Err(ReadError::Reset(code)) => Err(Cut::Reset(code.into())),
            Err(other) => Err(Cut::Other(text(other))),
        }
    }

    fn stop(mut self, code: u32) -> Outcome<()> {
        RecvStream::stop(&mut self, code).map_err(text)
    }
}

fn main() -> Outcome<()> {
    run::<Quinn>("web-transport-quinn")
}
