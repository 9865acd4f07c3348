//! Sends raw SIP messages over UDP, TCP or TLS and compares what comes back with a table of expectations.
//!
//! Most such messages ask for no `rport`, so over UDP the answer goes to the port in their Via: each message is sent from
//! a loopback address of its own, which also listens on the ports that occur there. On streams each message has a
//! connection of its own; where its length cannot be read, 400 and a close are due, whatever else is wrong with it.

mod expectation;
mod form;
mod stream;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::expectation::{Expectation, read_table};
use self::form::{Streamed, mended, streamed};

/// Where answers may arrive; messages leave from the first.
const PORTS: [u16; 5] = [5_060, 5_050, 5_070, 6_050, 19_823];
/// How long answers are awaited: a second final response within this time would be a retransmission of an INVITE's.
const PATIENCE: Duration = Duration::from_secs(3);
/// Messages under way at once.
const AT_ONCE: usize = 8;
/// Largest datagram.
const DATAGRAM_MAX: usize = 65_535;

/// What RFC 5118's messages must get: they are handed round without a table.
const RFC5118: &str = include_str!("rfc5118.tsv");

/// How messages are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// A datagram each.
    Udp,
    /// A connection each.
    Tcp,
    /// A connection each; the gateway's certificate is checked with this authority (PEM).
    Tls(PathBuf),
}

/// One message and what became of it.
#[derive(Debug, Clone)]
pub struct Row {
    /// The file's name without `.dat`.
    pub name: String,
    /// What was expected, in the table's words.
    pub expected: String,
    /// Status codes of the final responses, each once.
    pub finals: BTreeSet<u16>,
    /// Whether that is as expected.
    pub matches: bool,
}

/// All messages of a directory.
#[derive(Debug, Clone)]
pub struct Report {
    /// In the table's order.
    pub rows: Vec<Row>,
}

/// Sends every message of `directory` that its `expectations.tsv` names to `gateway`.
pub async fn run(gateway: SocketAddr, wire: &Wire, directory: &Path) -> Result<Report> {
    let table = read_table(&table(directory)?)?;
    let sender = match wire {
        Wire::Udp => Sender::Datagram,
        Wire::Tcp => Sender::Stream(None),
        Wire::Tls(ca_file) => Sender::Stream(Some(stream::connector(ca_file)?)),
    };
    let mut rows = Vec::new();
    let mut running = JoinSet::new();
    for (index, (name, expectation)) in table.into_iter().enumerate() {
        if running.len() >= AT_ONCE
            && let Some(row) = running.join_next().await
        {
            rows.push(row??);
        }
        let path = directory.join(format!("{name}.dat"));
        let message = mended(std::fs::read(&path).with_context(|| format!("no message {}", path.display()))?, &name);
        let (own, sender) = (own_address(index)?, sender.clone());
        running.spawn(async move {
            Ok::<_, anyhow::Error>((index, sender.row(gateway, own, name, expectation, message).await?))
        });
    }
    while let Some(row) = running.join_next().await {
        rows.push(row??);
    }
    rows.sort_by_key(|(index, _)| *index);
    Ok(Report { rows: rows.into_iter().map(|(_, row)| row).collect() })
}

/// The directory's own table; RFC 5118's messages have ours.
fn table(directory: &Path) -> Result<String> {
    let own = directory.join("expectations.tsv");
    if !own.exists() && directory.join("ipv4-mapped-ipv6.dat").exists() {
        return Ok(RFC5118.to_owned());
    }
    std::fs::read_to_string(own).with_context(|| format!("no expectations.tsv in {}", directory.display()))
}

/// 127.0.2.1, 127.0.2.2, …
fn own_address(index: usize) -> Result<Ipv4Addr> {
    let host = u16::try_from(index + 1)?.to_be_bytes();
    Ok(Ipv4Addr::new(127, 0, 2_u8.saturating_add(host[0]), host[1]))
}

/// What sends a message and judges the answer.
#[derive(Clone)]
enum Sender {
    Datagram,
    Stream(Option<tokio_rustls::TlsConnector>),
}

impl Sender {
    async fn row(
        self,
        gateway: SocketAddr,
        own: Ipv4Addr,
        name: String,
        expectation: Expectation,
        message: Vec<u8>,
    ) -> Result<Row> {
        match self {
            Self::Datagram => {
                let answers = by_datagram(gateway, own, &message).await?;
                let finals = finals(&answers);
                let matches = expectation.accepts(&message, &finals, &answers);
                Ok(Row { name, expected: expectation.text, finals, matches })
            }
            Self::Stream(tls) => {
                let message = streamed(&message);
                let heard = stream::exchange(gateway, own, tls, &message, PATIENCE).await?;
                let finals = finals(&heard.answers);
                let (matches, expected) = match &message {
                    Streamed::Whole(bytes) => {
                        let matches = expectation.accepts(bytes, &finals, &heard.answers) && heard.is_alive;
                        (matches, format!("{}; the stream goes on", expectation.text))
                    }
                    Streamed::Short(_) => (finals.is_empty() && heard.is_closed, "waits, then closes".to_owned()),
                    Streamed::Endless(bytes) => {
                        let told = finals.iter().all(|status| matches!(status, 400 | 513));
                        let is_told = told && (finals.len() == 1 || bytes.starts_with(b"SIP/2.0"));
                        (is_told && heard.is_closed, "400 or 513, then closed".to_owned())
                    }
                };
                Ok(Row { name, expected, finals, matches })
            }
        }
    }
}

fn finals(answers: &[String]) -> BTreeSet<u16> {
    answers.iter().filter_map(|answer| status(answer)).filter(|&status| status >= 200).collect()
}

/// Everything that comes back to a datagram, on every port where it may.
async fn by_datagram(gateway: SocketAddr, own: Ipv4Addr, message: &[u8]) -> Result<Vec<String>> {
    let (heard, mut answers) = mpsc::channel(64);
    let mut listening = JoinSet::new();
    let mut sender = None;
    for port in PORTS {
        let socket = Arc::new(bind(own, port).await?);
        sender.get_or_insert_with(|| Arc::clone(&socket));
        listening.spawn(listen(socket, heard.clone()));
    }
    sender.context("no port to send from")?.send_to(message, gateway).await?;
    let mut found = Vec::new();
    let collecting = async {
        while let Some(answer) = answers.recv().await {
            found.push(answer);
        }
    };
    // Waiting ends by the clock alone: that nothing more comes is part of the answer. `heard` keeps the channel open.
    let waited = tokio::time::timeout(PATIENCE, collecting).await;
    ensure!(waited.is_err(), "the listeners ended");
    drop(heard);
    Ok(found)
}

async fn listen(socket: Arc<UdpSocket>, heard: mpsc::Sender<String>) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        if let Ok(length) = socket.recv(&mut buffer).await {
            let answer = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
            if heard.send(answer).await.is_err() {
                return;
            }
        }
    }
}

async fn bind(own: Ipv4Addr, port: u16) -> Result<UdpSocket> {
    UdpSocket::bind((own, port)).await.with_context(|| format!("UDP {own}:{port} is taken"))
}

fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
}

impl Report {
    /// An error that names what does not match.
    pub fn verdict(&self) -> Result<()> {
        let wrong: Vec<&str> = self.rows.iter().filter(|row| !row.matches).map(|row| row.name.as_str()).collect();
        ensure!(wrong.is_empty(), "answers that are not as expected: {}", wrong.join(", "));
        ensure!(!self.rows.is_empty(), "no message was sent");
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<6} {:<28} {:<9} expected", "", "message", "answer")?;
        for row in &self.rows {
            let verdict = if row.matches { "ok" } else { "WRONG" };
            let finals: Vec<String> = row.finals.iter().map(u16::to_string).collect();
            let answer = if finals.is_empty() { "none".to_owned() } else { finals.join(",") };
            writeln!(f, "{verdict:<6} {:<28} {answer:<9} {}", row.name, row.expected)?;
        }
        let matching = self.rows.iter().filter(|row| row.matches).count();
        write!(f, "{matching} of {} as expected", self.rows.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A far side that answers everything with 400 to the port in Via.
    async fn answer_400(socket: UdpSocket) {
        let mut buffer = vec![0; DATAGRAM_MAX];
        while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
            let to = SocketAddr::new(from.ip(), 5_050);
            socket.send_to(b"SIP/2.0 400 Bad Request\r\n\r\n", to).await.unwrap();
        }
    }

    #[tokio::test]
    async fn answers_are_compared_with_the_table() {
        let directory = tempfile::tempdir().unwrap();
        let table = "# name\tadmission\twhat\nbad\t400\tx\ngone\tdrop\tx\nfine\tmessage\tx\n";
        std::fs::write(directory.path().join("expectations.tsv"), table).unwrap();
        for name in ["bad", "gone", "fine"] {
            std::fs::write(directory.path().join(format!("{name}.dat")), "OPTIONS sip:x SIP/2.0\r\n\r\n").unwrap();
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let gateway = socket.local_addr().unwrap();
        let far_side = tokio::spawn(answer_400(socket));
        let report = run(gateway, &Wire::Udp, directory.path()).await.unwrap();
        far_side.abort();
        let verdicts: Vec<bool> = report.rows.iter().map(|row| row.matches).collect();
        assert_eq!(verdicts, [true, false, false], "{report}");
        assert!(report.verdict().unwrap_err().to_string().contains("gone, fine"));
        assert!(report.to_string().ends_with("1 of 3 as expected"));
    }

    /// A far side that answers each message on a stream with 400, and closes after one that says "close".
    async fn answer_on_streams(listener: tokio::net::TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer_on(stream));
        }
    }

    async fn answer_on(mut stream: tokio::net::TcpStream) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut buffer, mut closes) = (vec![0; 2_048], false);
        while !closes && let Ok(size @ 1..) = stream.read(&mut buffer).await {
            let message = String::from_utf8_lossy(&buffer[..size]).into_owned();
            closes = message.contains("close");
            let is_ping = message == "\r\n\r\n";
            let answer = if is_ping { "\r\n" } else { "SIP/2.0 400 Bad Request\r\nl: 0\r\n\r\n" };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn on_streams_the_fate_of_the_connection_is_judged_too() {
        let directory = tempfile::tempdir().unwrap();
        let table =
            "# name\tadmission\twhat\nstays\t400\tx\nclosed\t400\tx\nendless\tmessage\tx\nendless-stays\t400\tx\n";
        std::fs::write(directory.path().join("expectations.tsv"), table).unwrap();
        let write = |name: &str, lines: &str| {
            let message = format!("OPTIONS sip:x SIP/2.0\r\n{lines}\r\n");
            std::fs::write(directory.path().join(format!("{name}.dat")), message).unwrap();
        };
        write("stays", "l: 0\r\n");
        write("closed", "l: 0\r\nX: close\r\n");
        write("endless", "l: -1\r\nX: close\r\n");
        write("endless-stays", "l: -1\r\n");
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let gateway = listener.local_addr().unwrap();
        let far_side = tokio::spawn(answer_on_streams(listener));
        let report = run(gateway, &Wire::Tcp, directory.path()).await.unwrap();
        far_side.abort();
        let verdicts: Vec<bool> = report.rows.iter().map(|row| row.matches).collect();
        assert_eq!(verdicts, [true, false, true, false], "{report}");
    }
}
