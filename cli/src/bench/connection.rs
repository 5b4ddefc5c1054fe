//! HTTP/1.1 by hand: the requests are prepared once, so that the client costs little.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Room that is kept for an answer.
const ROOM: usize = 16 * 1_024;

/// One kept-alive connection, one request at a time.
pub(super) struct Connection<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
    /// Where the body of the last answer begins.
    body: usize,
}

/// A whole request.
pub(super) fn request(method: &str, path: &str, token: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} /v1/{path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

impl Connection {
    /// Connects, at once sending what is written.
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Over a stream that is open.
    pub(super) const fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), body: 0 }
    }

    /// Sends a request and reads its answer; the status.
    pub(super) async fn send(&mut self, request: &[u8]) -> io::Result<u16> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (mut wanted, mut status) = (usize::MAX, 0);
        while self.buffer.len() < wanted {
            let missing = if wanted == usize::MAX { ROOM } else { wanted - self.buffer.len() };
            self.buffer.reserve(missing.max(1));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if wanted == usize::MAX
                && let Some(head) = Head::of(&self.buffer)?
            {
                (wanted, status) = (head.len + head.body, head.status);
                self.body = head.len;
            }
        }
        Ok(status)
    }

    /// The body of the last answer.
    pub(super) fn body(&self) -> &[u8] {
        self.buffer.get(self.body..).unwrap_or_default()
    }
}

/// What the head of an answer says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    len: usize,
    status: u16,
    body: usize,
}

impl Head {
    /// `None` while it is not whole.
    fn of(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "no HTTP/1.1 answer");
        let text = bytes.get(..end).and_then(|head| std::str::from_utf8(head).ok());
        let mut lines = text.ok_or_else(bad)?.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
        let status = status.and_then(|line| line.get(..3)?.parse().ok()).ok_or_else(bad)?;
        let body = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        Ok(Some(Self { len: end + 4, status, body: body.unwrap_or_default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let answer = b"HTTP/1.1 409 Conflict\r\nContent-Length: 12\r\ndate: x\r\n\r\nbody";
        let head = Head::of(answer).unwrap().unwrap();
        assert_eq!(head, Head { len: answer.len() - 4, status: 409, body: 12 });
        assert_eq!(Head::of(&answer[..40]).unwrap(), None);
        assert!(Head::of(b"SSH-2.0\r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn an_answer_in_pieces_is_read_whole() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let serve = async {
            let mut heard = [0; 4];
            theirs.read_exact(&mut heard).await.unwrap();
            for piece in ["HTTP/1.1 200 OK\r\ncontent-le", "ngth: 3\r\n\r\na", "bc"] {
                theirs.write_all(piece.as_bytes()).await.unwrap();
            }
            heard
        };
        let mut connection = Connection::over(ours);
        let (status, heard) = tokio::join!(connection.send(b"ping"), serve);
        assert_eq!((status.unwrap(), &heard), (200, b"ping"));
        assert_eq!(connection.body(), b"abc");
    }
}
