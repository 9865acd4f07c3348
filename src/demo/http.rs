//! As much of an HTTP/1.1 client as the demo needs: one request a connection, over plain TCP to this machine.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest response that is read.
const RESPONSE_MAX: u64 = 64 * 1024 * 1024;

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a login gave.
#[derive(Clone)]
pub struct Login {
    /// For `session.open`.
    pub token: String,
    /// For the `Cookie` header of further requests.
    pub cookie: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

/// The origin of the gateway's own pages.
pub fn origin(gateway: SocketAddr) -> String {
    format!("http://{gateway}")
}

/// Logs in as a browser does.
pub async fn log_in(gateway: SocketAddr, user: &str, password: &str) -> Result<Login> {
    let body = json!({"username": user, "password": password}).to_string();
    let response =
        request(gateway, "POST", "/api/v1/login", &[("content-type", "application/json")], body.as_bytes()).await?;
    ensure!(response.status == 200, "{user} cannot log in: {} {}", response.status, response.text());
    let answer: Value = serde_json::from_slice(&response.body).context("the login's answer is not JSON")?;
    let token = answer
        .get("signaling_token")
        .and_then(Value::as_str)
        .context("the login's answer has no signaling_token")?
        .to_owned();
    let cookies: Vec<&str> = response.all("set-cookie").filter_map(|cookie| cookie.split(';').next()).collect();
    Ok(Login { token, cookie: cookies.join("; ") })
}

/// One request and its response.
pub async fn request(
    gateway: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    let exchange = async {
        let mut stream = TcpStream::connect(gateway).await.with_context(|| format!("nobody listens on {gateway}"))?;
        let origin = origin(gateway);
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: {gateway}\r\norigin: {origin}\r\nconnection: close\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n")?;
        }
        write!(head, "content-length: {}\r\n\r\n", body.len())?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut bytes = Vec::new();
        stream.take(RESPONSE_MAX).read_to_end(&mut bytes).await?;
        Response::parse(&bytes)
    };
    tokio::time::timeout(TIMEOUT, exchange).await.with_context(|| format!("no answer to {method} {path}"))?
}

impl Response {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let end =
            bytes.windows(4).position(|four| four == b"\r\n\r\n").context("a response without an end of its head")?;
        let (head, body) = bytes.split_at(end + 4);
        let head = std::str::from_utf8(head)?;
        let mut lines = head.split("\r\n");
        let status =
            lines.next().and_then(|line| line.split(' ').nth(1)).context("a response without a status")?.parse()?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut response = Self { status, headers, body: body.to_vec() };
        if response.all("transfer-encoding").any(|coding| coding.eq_ignore_ascii_case("chunked")) {
            response.body = unchunk(body)?;
        }
        Ok(response)
    }

    /// Every value of a header; `name` in lower case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body for a person to read.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// RFC 9112 7.1.
fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").context("a chunk without its size")?;
        let (size, after) = rest.split_at(end);
        let size = std::str::from_utf8(size)?.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16)?;
        if size == 0 {
            return Ok(out);
        }
        let Some(chunk) = after.get(2..2 + size) else { bail!("a chunk that is cut short") };
        out.extend_from_slice(chunk);
        rest = after.get(4 + size..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_with_a_length_is_read() {
        let response =
            Response::parse(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Secure\r\nContent-Length: 2\r\n\r\nhi").unwrap();
        assert_eq!((response.status, response.text()), (200, "hi".to_owned()));
        assert_eq!(response.all("set-cookie").collect::<Vec<_>>(), ["a=1; Secure"]);
    }

    #[test]
    fn a_chunked_response_is_joined() {
        let response = Response::parse(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n3;x=y\r\n ho\r\n0\r\n\r\n",
        )
        .unwrap();
        assert_eq!(response.text(), "hi ho");
        assert!(Response::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhi\r\n").is_err());
    }

    #[test]
    fn what_is_no_response_is_an_error() {
        assert!(Response::parse(b"").is_err());
        assert!(Response::parse(b"HTTP/1.1 200 OK\r\n").is_err());
    }
}
