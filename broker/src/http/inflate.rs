//! Compressed request bodies: gzip, unpacked no further than a plain body may be long, so that a
//! small one cannot ask for all of the memory.

use std::io::Read as _;
use std::sync::Arc;

use actix_web::web::Bytes;
use flate2::read::MultiGzDecoder;
use tokio::sync::Semaphore;

use super::error::Refusal;

/// How many bodies are unpacked at once; more wait. Each takes a thread and, for a moment, up to
/// twice the limit of memory.
const AT_ONCE: usize = 4;

/// Unpacks bodies, off the threads that serve connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Inflater(Arc<Semaphore>);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// What `packed` holds, at most `limit` bytes. Nothing is an empty body.
    ///
    /// # Errors
    /// It is no gzip, ends too early, has something behind its end, or holds more.
    pub(super) async fn gzip(&self, packed: Bytes, limit: usize) -> Result<Bytes, Refusal> {
        if packed.is_empty() {
            return Ok(packed);
        }
        // Nobody closes the semaphore, and the work cannot panic.
        let _turn = self.0.acquire().await.map_err(|_| Refusal::UnreadableBody)?;
        let work = tokio::task::spawn_blocking(move || inflate(&packed, limit));
        work.await.map_err(|_| Refusal::UnreadableBody)?
    }
}

fn inflate(packed: &[u8], limit: usize) -> Result<Bytes, Refusal> {
    let limit = limit as u64;
    let mut plain = Vec::new();
    let mut reader = MultiGzDecoder::new(packed).take(limit.saturating_add(1));
    let size = reader.read_to_end(&mut plain).map_err(|_| Refusal::UnreadableBody)? as u64;
    if size > limit { Err(Refusal::TooLarge { size, limit }) } else { Ok(plain.into()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut writer = GzEncoder::new(Vec::new(), Compression::best());
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn a_body_comes_out_as_it_went_in_up_to_the_limit() {
        let packed = gzip(b"{\"messages\": []}");
        assert_eq!(inflate(&packed, 16).unwrap().as_ref(), b"{\"messages\": []}");
        let refused = inflate(&packed, 15).unwrap_err();
        assert!(matches!(refused, Refusal::TooLarge { size: 16, limit: 15 }), "{refused:?}");
        let two = [gzip(b"{\"a\"").as_slice(), &gzip(b": 1}")].concat();
        assert_eq!(inflate(&two, 100).unwrap().as_ref(), b"{\"a\": 1}", "members in a row");
    }

    #[test]
    fn a_bomb_is_not_unpacked_further_than_the_limit() {
        let bomb = gzip(&vec![b' '; 64 << 20]);
        assert!(bomb.len() < 100_000);
        let refused = inflate(&bomb, 1_000).unwrap_err();
        assert!(matches!(refused, Refusal::TooLarge { size: 1_001, limit: 1_000 }), "{refused:?}");
    }

    #[test]
    fn what_is_no_gzip_or_not_all_of_it_is_unreadable() {
        let packed = gzip(b"something to read");
        for bad in [&b"{}"[..], &packed[..packed.len() - 1], &[packed.as_slice(), b"x"].concat()] {
            assert!(matches!(inflate(bad, 1_000), Err(Refusal::UnreadableBody)));
        }
        let mut flipped = packed.clone();
        let checksum = packed.len() - 8;
        flipped[checksum] ^= 1;
        assert!(matches!(inflate(&flipped, 1_000), Err(Refusal::UnreadableBody)));
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_does_harm(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let framed = [&gzip(b"")[..10], &noise].concat();
            for bytes in [noise, framed] {
                if let Ok(plain) = inflate(&bytes, 1_000) {
                    prop_assert!(plain.len() <= 1_000);
                }
            }
        }
    }
}
