//! Sends raw SIP messages over UDP and compares what comes back with a table of expectations.
//!
//! Most such messages ask for no `rport`, so the answer goes to the port in their Via: each message is sent from a
//! loopback address of its own, which also listens on the ports that occur there.

mod expectation;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use self::expectation::{Expectation, read_table};

/// Where answers may arrive; messages leave from the first.
const PORTS: [u16; 3] = [5_060, 5_050, 5_070];
/// How long answers are awaited: a second final response within this time would be a retransmission of an INVITE's.
const PATIENCE: Duration = Duration::from_secs(3);
/// Messages under way at once.
const AT_ONCE: usize = 8;
/// Largest datagram.
const DATAGRAM_MAX: usize = 65_535;

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
pub async fn run(gateway: SocketAddr, directory: &Path) -> Result<Report> {
    let table = std::fs::read_to_string(directory.join("expectations.tsv"));
    let table = read_table(&table.with_context(|| format!("no expectations.tsv in {}", directory.display()))?)?;
    let mut rows = Vec::new();
    let mut running = JoinSet::new();
    for (index, (name, expectation)) in table.into_iter().enumerate() {
        if running.len() >= AT_ONCE
            && let Some(row) = running.join_next().await
        {
            rows.push(row??);
        }
        let path = directory.join(format!("{name}.dat"));
        let message = std::fs::read(&path).with_context(|| format!("no message {}", path.display()))?;
        running.spawn(exchange(gateway, own_address(index)?, index, name, expectation, message));
    }
    while let Some(row) = running.join_next().await {
        rows.push(row??);
    }
    rows.sort_by_key(|(index, _)| *index);
    Ok(Report { rows: rows.into_iter().map(|(_, row)| row).collect() })
}

/// 127.0.2.1, 127.0.2.2, …
fn own_address(index: usize) -> Result<Ipv4Addr> {
    let host = u16::try_from(index + 1)?.to_be_bytes();
    Ok(Ipv4Addr::new(127, 0, 2_u8.saturating_add(host[0]), host[1]))
}

async fn exchange(
    gateway: SocketAddr,
    own: Ipv4Addr,
    index: usize,
    name: String,
    expectation: Expectation,
    message: Vec<u8>,
) -> Result<(usize, Row)> {
    let [first, second, third] = PORTS;
    let sender = bind(own, first).await?;
    let (low, high) = (bind(own, second).await?, bind(own, third).await?);
    sender.send_to(&message, gateway).await?;
    let mut answers = Vec::new();
    let mut buffers = [vec![0; DATAGRAM_MAX], vec![0; DATAGRAM_MAX], vec![0; DATAGRAM_MAX]];
    let [a, b, c] = &mut buffers;
    let listening = async {
        loop {
            let datagram = tokio::select! {
                received = sender.recv(a) => received.map(|length| a.get(..length)),
                received = low.recv(b) => received.map(|length| b.get(..length)),
                received = high.recv(c) => received.map(|length| c.get(..length)),
            };
            if let Ok(Some(datagram)) = datagram {
                answers.push(String::from_utf8_lossy(datagram).into_owned());
            }
        }
    };
    // Waiting ends by the clock alone: that nothing more comes is part of the answer.
    let waited: Result<(), _> = tokio::time::timeout(PATIENCE, listening).await;
    ensure!(waited.is_err(), "the listener ended");
    let finals = answers.iter().filter_map(|answer| status(answer)).filter(|&status| status >= 200).collect();
    let matches = expectation.accepts(&message, &finals, &answers);
    Ok((index, Row { name, expected: expectation.text, finals, matches }))
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
        let report = run(gateway, directory.path()).await.unwrap();
        far_side.abort();
        let verdicts: Vec<bool> = report.rows.iter().map(|row| row.matches).collect();
        assert_eq!(verdicts, [true, false, false], "{report}");
        assert!(report.verdict().unwrap_err().to_string().contains("gone, fine"));
        assert!(report.to_string().ends_with("1 of 3 as expected"));
    }
}
