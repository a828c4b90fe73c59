//! What every client of the interoperability tests does, whichever crate it is built on.
//!
//! A program implements [`Client`], [`Session`], [`Sender`] and [`Receiver`] on its crate and calls [`run`], which
//! tries one feature after the other, each on a session of its own, and prints one line of JSON for each.

use std::future::Future;
use std::time::Duration;

use serde_json::{json, Value};

/// What ended badly, in words for the table.
pub type Outcome<T> = Result<T, String>;

/// How a stream's data ended when it did not end with FIN.
pub enum Cut {
    Reset(u64),
    Other(String),
}

impl From<Cut> for String {
    fn from(cut: Cut) -> String {
        match cut {
            Cut::Reset(code) => format!("the stream was reset with {code}"),
            Cut::Other(why) => why,
        }
    }
}

#[allow(async_fn_in_trait)]
pub trait Client: Sized {
    type Session: Session;
    /// Remarks on the codes of streams and on close.
    const ON_CODES: &'static str = "";
    const ON_CLOSE: &'static str = "";
    fn new(hash: [u8; 32]) -> Outcome<Self>;
    async fn connect(&self, url: &str) -> Outcome<Self::Session>;
}

#[allow(async_fn_in_trait)]
pub trait Session {
    type Sender: Sender;
    type Receiver: Receiver;
    async fn open_bidi(&self) -> Outcome<(Self::Sender, Self::Receiver)>;
    async fn open_uni(&self) -> Outcome<Self::Sender>;
    async fn accept_bidi(&self) -> Outcome<(Self::Sender, Self::Receiver)>;
    async fn accept_uni(&self) -> Outcome<Self::Receiver>;
    fn send_datagram(&self, data: &[u8]) -> Outcome<()>;
    async fn receive_datagram(&self) -> Outcome<Vec<u8>>;
    fn close(&self, code: u32, reason: &str);
    /// Waits until the server has closed the session.
    async fn closed(&self) -> Outcome<(u64, String)>;
}

#[allow(async_fn_in_trait)]
pub trait Sender {
    async fn write(&mut self, data: &[u8]) -> Outcome<()>;
    async fn finish(&mut self) -> Outcome<()>;
    fn reset(&mut self, code: u32) -> Outcome<()>;
    /// Waits for the code with which the server wants no more.
    async fn stopped(&mut self) -> Outcome<u64>;
}

#[allow(async_fn_in_trait)]
pub trait Receiver {
    /// Returns 0 at the end.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Cut>;
    fn stop(self, code: u32) -> Outcome<()>;
}

const PATIENCE: Duration = Duration::from_secs(15);

struct Arguments {
    url: String,
    hash: [u8; 32],
}

/// The program on this crate: reads the command line, tries everything, prints the lines.
pub fn run<C: Client>(crate_name: &str) -> Outcome<()> {
    let arguments = read_arguments()?;
    println!("{}", json!({"version": version_of(crate_name)}));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
    runtime.block_on(async {
        let trial = Trial { client: C::new(arguments.hash)?, url: arguments.url };
        report("connect", ("pass", ""), trial.connect()).await;
        report("bidi", ("pass", ""), trial.bidi()).await;
        report("uni", ("pass", ""), trial.uni()).await;
        report("server_bidi", ("pass", ""), trial.server_bidi()).await;
        report("server_uni", ("pass", ""), trial.server_uni()).await;
        report("datagram", ("pass", ""), trial.datagram()).await;
        report("reset", ("pass", C::ON_CODES), trial.reset()).await;
        report("stop", ("pass", C::ON_CODES), trial.stop()).await;
        report("server_reset", ("pass", C::ON_CODES), trial.server_reset()).await;
        report("server_stop", ("pass", C::ON_CODES), trial.server_stop()).await;
        report("close", ("pass", C::ON_CLOSE), trial.close()).await;
        report("server_close", ("pass", ""), trial.server_close()).await;
        report("reject", ("pass", ""), trial.reject()).await;
        report("drain", ("none", "the crate does not tell its program of it"), trial.drain()).await;
        Ok(())
    })
}

pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The version that Cargo.lock has for it.
fn version_of(crate_name: &str) -> &'static str {
    let head = format!("name = \"{crate_name}\"\nversion = \"");
    let rest = include_str!("../Cargo.lock").split_once(&head).expect("a dependency").1;
    rest.split('"').next().unwrap_or("")
}

fn read_arguments() -> Outcome<Arguments> {
    let (mut url, mut hash) = (None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next();
        match word.as_str() {
            "--url" => url = value,
            "--hash" => hash = value,
            "--ca" => {} // both crates take the hash
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    Ok(Arguments { url: url.ok_or("--url is missing")?, hash: read_hash(&hash.ok_or("--hash is missing")?)? })
}

fn read_hash(digits: &str) -> Outcome<[u8; 32]> {
    let bytes: Vec<u8> = (0..digits.len() / 2)
        .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).map_err(text))
        .collect::<Outcome<_>>()?;
    bytes.try_into().map_err(|_| "--hash is not a SHA-256".to_string())
}

/// done is the result, with a remark, if the trial goes well.
async fn report(feature: &str, done: (&str, &str), trial: impl Future<Output = Outcome<()>>) {
    match tokio::time::timeout(PATIENCE, trial).await {
        Ok(Ok(())) => print_line(feature, done.0, done.1),
        Ok(Err(why)) => print_line(feature, "fail", &why),
        Err(_) => print_line(feature, "fail", "no answer"),
    }
}

fn print_line(feature: &str, result: &str, why: &str) {
    println!("{}", json!({"feature": feature, "result": result, "why": why}));
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Outcome<()> {
    if got == wanted {
        Ok(())
    } else {
        Err(format!("{what}: {got:?} instead of {wanted:?}"))
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 256) as u8).collect()
}

async fn read_all(receiver: &mut impl Receiver) -> Result<Vec<u8>, Cut> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 65536];
    loop {
        match receiver.read(&mut buffer).await? {
            0 => return Ok(all),
            n => all.extend_from_slice(&buffer[..n]),
        }
    }
}

/// Reads exactly as much as `wanted` has, and compares.
async fn read_some(receiver: &mut impl Receiver, wanted: &[u8]) -> Outcome<()> {
    let mut got = vec![0; wanted.len()];
    let mut have = 0;
    while have < got.len() {
        match receiver.read(&mut got[have..]).await? {
            0 => return Err("the stream ended early".into()),
            n => have += n,
        }
    }
    expect("the echo", got.as_slice(), wanted)
}

async fn send_all(mut sender: impl Sender, data: &[u8]) -> Outcome<()> {
    sender.write(data).await?;
    sender.finish().await
}

struct Trial<C: Client> {
    client: C,
    url: String,
}

impl<C: Client> Trial<C> {
    /// A session by whose name the application can be asked what it saw.
    async fn session(&self, key: &str) -> Outcome<C::Session> {
        self.client.connect(&format!("{}?key={}", self.url, name(key))).await
    }

    async fn connect(&self) -> Outcome<()> {
        self.session("connect").await.map(drop)
    }

    async fn bidi(&self) -> Outcome<()> {
        let session = self.session("bidi").await?;
        let data = pattern(1 << 20);
        let (mut sender, mut receiver) = session.open_bidi().await?;
        sender.write(b"echo\n").await?;
        let (sent, got) = tokio::join!(send_all(sender, &data), read_all(&mut receiver));
        sent?;
        if got? == data {
            Ok(())
        } else {
            Err("the echo differs".into())
        }
    }

    async fn uni(&self) -> Outcome<()> {
        let session = self.session("uni").await?;
        let data = pattern(100_000);
        send_all(session.open_uni().await?, &data).await?;
        if read_all(&mut session.accept_uni().await?).await? == data {
            Ok(())
        } else {
            Err("the answer differs".into())
        }
    }

    async fn server_bidi(&self) -> Outcome<()> {
        let session = self.session("server-bidi").await?;
        let (command, mut answer) = session.open_bidi().await?;
        send_all(command, b"bidi\n").await?;
        let (sender, mut receiver) = session.accept_bidi().await?;
        expect("the server's stream", read_all(&mut receiver).await?, b"hello".to_vec())?;
        send_all(sender, b"and hello").await?;
        expect("what it got", read_all(&mut answer).await?, b"got:and hello".to_vec())
    }

    async fn server_uni(&self) -> Outcome<()> {
        let session = self.session("server-uni").await?;
        let (command, _answer) = session.open_bidi().await?;
        send_all(command, b"uni\n").await?;
        let mut receiver = session.accept_uni().await?;
        expect("the server's stream", read_all(&mut receiver).await?, b"hello".to_vec())
    }

    /// Datagrams may get lost: one is sent again until one is back.
    async fn datagram(&self) -> Outcome<()> {
        let session = self.session("datagram").await?;
        loop {
            session.send_datagram(b"a datagram")?;
            match tokio::time::timeout(Duration::from_secs(1), session.receive_datagram()).await {
                Ok(data) => return expect("the datagram", data?, b"a datagram".to_vec()),
                Err(_) => continue,
            }
        }
    }

    async fn reset(&self) -> Outcome<()> {
        let session = self.session("reset").await?;
        let (mut sender, mut receiver) = session.open_bidi().await?;
        sender.write(b"echo\nabc").await?;
        read_some(&mut receiver, b"abc").await?; // a reset may overtake what was written before
        sender.reset(42)?;
        let seen = ask(&session, "reset").await?;
        expect("the application's resets", &seen["resets"], &json!([42]))
    }

    async fn stop(&self) -> Outcome<()> {
        let session = self.session("stop").await?;
        let (mut sender, mut receiver) = session.open_bidi().await?;
        sender.write(b"echo\nabc").await?;
        read_some(&mut receiver, b"abc").await?;
        receiver.stop(43)?;
        let _ = sender.write(b"def").await; // an application may learn of it only when it writes
        let seen = ask(&session, "stop").await?;
        expect("the application's stops", &seen["stops"], &json!([43]))
    }

    async fn server_reset(&self) -> Outcome<()> {
        let session = self.session("server-reset").await?;
        let (mut sender, mut receiver) = session.open_bidi().await?;
        sender.write(b"reset 44\n").await?;
        match read_all(&mut receiver).await {
            Err(Cut::Reset(code)) => expect("the code", code, 44),
            Err(Cut::Other(why)) => Err(why),
            Ok(_) => Err("the stream ended instead".into()),
        }
    }

    async fn server_stop(&self) -> Outcome<()> {
        let session = self.session("server-stop").await?;
        let (mut sender, _receiver) = session.open_bidi().await?;
        sender.write(b"stop 45\n").await?;
        expect("the code", sender.stopped().await?, 45)
    }

    async fn close(&self) -> Outcome<()> {
        let session = self.session("close").await?;
        session.close(7, "bye");
        let witness = self.session("close-witness").await?;
        let seen = &ask(&witness, "close").await?["disconnect"];
        expect("the code", &seen["code"], &json!(7))?;
        expect("the reason", &seen["reason"], &json!("bye"))
    }

    async fn server_close(&self) -> Outcome<()> {
        let session = self.session("server-close").await?;
        let (mut command, _answer) = session.open_bidi().await?;
        command.write(b"close 8 so long\n").await?; // to wait for its end would be a race with the close
        expect("code and reason", session.closed().await?, (8, "so long".into()))
    }

    /// The program is not told; the session goes on.
    async fn drain(&self) -> Outcome<()> {
        let session = self.session("drain").await?;
        let (command, mut answer) = session.open_bidi().await?;
        send_all(command, b"drain\n").await?;
        read_all(&mut answer).await?;
        let (mut sender, mut receiver) = session.open_bidi().await?;
        sender.write(b"echo\nabc").await?;
        read_some(&mut receiver, b"abc").await
    }

    async fn reject(&self) -> Outcome<()> {
        let mut url = url::Url::parse(&self.url).map_err(text)?;
        url.set_path("/nothing-is-here");
        match self.client.connect(url.as_str()).await {
            Ok(_) => Err("there is a session".into()),
            Err(_) => Ok(()),
        }
    }
}

/// Unique enough for several runs against one application.
fn name(key: &str) -> String {
    format!("rust-{}-{key}", std::process::id())
}

/// What the application saw of the session of that name; it answers as soon as there is something.
async fn ask(session: &impl Session, key: &str) -> Outcome<Value> {
    let (sender, mut receiver) = session.open_bidi().await?;
    send_all(sender, format!("seen {}\n", name(key)).as_bytes()).await?;
    serde_json::from_slice(&read_all(&mut receiver).await?).map_err(text)
}
