//! A server that fails on purpose: it stands before a sound one, passes requests on, and commits the fault that the
//! script asks for. It speaks raw HTTP, since no sound server can cut, stall or reset.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The longest head of a request or an answer that is understood.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is read, not passed on, and answered with this status and body.
    Answer(u16, &'static str),
    /// The same, but at once, while the body is still on its way; then the connection is closed.
    AnswerEarly(u16, &'static str),
    /// The connection is reset as soon as the head of the request is there.
    Reset,
    /// Half of the body is read, then the connection is closed.
    CloseEarly,
    /// Nothing is read after the head.
    Deaf,
    /// The request is read and never answered.
    Mute,
    /// The first byte of the body is changed on its way.
    Corrupt,
    /// The request takes effect, but the connection is closed instead of answered.
    LostAnswer,
    /// The body of the answer is cut after so many bytes.
    Cut(usize),
    /// The body of the answer stops after so many bytes.
    Stall(usize),
    /// The request is read, not passed on, and answered with this status and a body that is not seen to end.
    Endless(u16),
    /// The same, a byte at a time: something moves, for ever.
    Drip(u16),
}

/// The errors that S3 answers with.
pub mod errors {
    /// The usual answer to too many requests.
    pub const SLOW_DOWN: &str =
        "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    /// Something broke.
    pub const INTERNAL: &str = "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>";
    /// Clocks differ.
    pub const SKEWED: &str = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>";
    /// Two conditional writes at once.
    pub const CONFLICT: &str =
        "<Error><Code>ConditionalRequestConflict</Code><Message>Try again.</Message></Error>";
}

/// The head of a request, as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET`, `PUT`, ...
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Seen {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
struct Script {
    faults: VecDeque<(&'static str, Fault)>,
    seen: Vec<Seen>,
}

/// A running server; dropping it ends it and every connection.
#[derive(Debug)]
pub struct FaultyServer {
    /// Where it listens.
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
    _tasks: JoinSet<()>,
}

impl FaultyServer {
    /// Starts before the server at `behind`.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("listen on loopback");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let script = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, behind, Arc::clone(&script)));
        Self {
            address,
            script,
            _tasks: tasks,
        }
    }

    /// Its address for a client.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Fails the next `times` requests of `method`, after those already asked for.
    pub fn fail(&self, times: usize, method: &'static str, fault: Fault) {
        self.script()
            .faults
            .extend(std::iter::repeat_n((method, fault), times));
    }

    /// Drops the faults that were not committed yet.
    pub fn forgive(&self) {
        self.script().faults.clear();
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.script().seen.clone()
    }

    /// The methods of all requests so far.
    pub fn methods(&self) -> Vec<String> {
        self.script()
            .seen
            .iter()
            .map(|seen| seen.method.clone())
            .collect()
    }

    /// Faults asked for and not committed yet.
    pub fn pending(&self) -> usize {
        self.script().faults.len()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        lock(&self.script)
    }
}

fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, behind: SocketAddr, script: Arc<Mutex<Script>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                // A client that gives up breaks its connection: nothing to report.
                let script = Arc::clone(&script);
                connections.spawn(async move { serve(stream, behind, &script).await.ok() });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one request per connection.
async fn serve(
    mut client: TcpStream,
    behind: SocketAddr,
    script: &Mutex<Script>,
) -> io::Result<()> {
    let (head, mut early) = read_head(&mut client).await?;
    let seen = parse(&head);
    let body_bytes = seen
        .header("content-length")
        .and_then(|bytes| bytes.parse().ok());
    let mut rest = body_bytes
        .unwrap_or(0_u64)
        .saturating_sub(early.len() as u64);
    let fault = {
        let mut script = lock(script);
        let method = seen.method.clone();
        script.seen.push(seen);
        let due = script
            .faults
            .front()
            .is_some_and(|(wanted, _)| *wanted == method);
        if due {
            script.faults.pop_front().map(|(_, fault)| fault)
        } else {
            None
        }
    };
    match fault {
        Some(Fault::Answer(status, body)) => {
            discard(&mut client, rest).await?;
            answer(&mut client, status, body).await
        }
        Some(Fault::AnswerEarly(status, body)) => answer(&mut client, status, body).await,
        Some(Fault::Reset) => client.set_zero_linger(),
        Some(Fault::CloseEarly) => discard(&mut client, rest / 2).await,
        Some(Fault::Deaf) => std::future::pending().await,
        Some(Fault::Mute) => {
            discard(&mut client, rest).await?;
            std::future::pending().await
        }
        Some(Fault::Endless(status)) => {
            discard(&mut client, rest).await?;
            endless(&mut client, status).await
        }
        Some(Fault::Drip(status)) => {
            discard(&mut client, rest).await?;
            drip(&mut client, status).await
        }
        Some(Fault::Corrupt) => {
            if early.is_empty() {
                client.read_buf(&mut early).await?;
                rest -= early.len() as u64;
            }
            early[0] ^= 1;
            let server = forward(&mut client, behind, &head, &early, rest).await?;
            backward(&mut client, server, usize::MAX).await
        }
        Some(Fault::LostAnswer) => {
            let mut server = forward(&mut client, behind, &head, &early, rest).await?;
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).await?;
            Ok(())
        }
        Some(Fault::Cut(bytes)) => {
            let server = forward(&mut client, behind, &head, &early, rest).await?;
            backward(&mut client, server, bytes).await
        }
        Some(Fault::Stall(bytes)) => {
            let server = forward(&mut client, behind, &head, &early, rest).await?;
            backward(&mut client, server, bytes).await?;
            std::future::pending().await
        }
        None => {
            let server = forward(&mut client, behind, &head, &early, rest).await?;
            backward(&mut client, server, usize::MAX).await
        }
    }
}

/// Reads up to the empty line. Returns the head with it, and what came after.
async fn read_head(stream: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        if stream.read_buf(&mut head).await? == 0 || head.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = head.split_off(end + 4);
            return Ok((head, rest));
        }
    }
}

fn parse(head: &[u8]) -> Seen {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let mut words = lines
        .next()
        .unwrap_or_default()
        .split(' ')
        .map(str::to_owned);
    let headers = lines.filter_map(|line| line.split_once(':'));
    Seen {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect(),
    }
}

/// Reads and forgets.
async fn discard(stream: &mut TcpStream, bytes: u64) -> io::Result<()> {
    tokio::io::copy(&mut stream.take(bytes), &mut tokio::io::sink()).await?;
    Ok(())
}

async fn answer(client: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Scripted\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(body.as_bytes()).await?;
    client.shutdown().await
}

/// Answers with well-formed XML as fast as it is taken: after 64 MiB we know that the client would take all.
async fn endless(client: &mut TcpStream, status: u16) -> io::Result<()> {
    start_chunks(client, status).await?;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..1024 {
        client.write_all(chunk.as_bytes()).await?;
    }
    std::future::pending().await
}

/// Answers with well-formed XML as slowly as can be called moving.
async fn drip(client: &mut TcpStream, status: u16) -> io::Result<()> {
    start_chunks(client, status).await?;
    loop {
        client.write_all(b"1\r\n \r\n").await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Begins an answer of unknown length.
async fn start_chunks(client: &mut TcpStream, status: u16) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Scripted\r\ncontent-type: application/xml\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await?;
    client
        .write_all(b"16\r\n<?xml version=\"1.0\" ?>\r\n")
        .await
}

/// Passes a request on, asking the server to close its connection after the answer.
async fn forward(
    client: &mut TcpStream,
    behind: SocketAddr,
    head: &[u8],
    early: &[u8],
    rest: u64,
) -> io::Result<TcpStream> {
    let mut server = TcpStream::connect(behind).await?;
    let lines = head.len() - 2;
    server.write_all(&head[..lines]).await?;
    server.write_all(b"connection: close\r\n\r\n").await?;
    server.write_all(early).await?;
    // The server may refuse before it read all: its answer is what counts.
    tokio::io::copy(&mut client.take(rest), &mut server)
        .await
        .ok();
    Ok(server)
}

/// Passes an answer back, at most so many bytes of its body.
async fn backward(
    client: &mut TcpStream,
    mut server: TcpStream,
    bytes_max: usize,
) -> io::Result<()> {
    let (head, mut body) = read_head(&mut server).await?;
    client.write_all(&head).await?;
    body.truncate(bytes_max);
    client.write_all(&body).await?;
    let rest = (bytes_max - body.len()) as u64;
    tokio::io::copy(&mut server.take(rest), client).await?;
    Ok(())
}
