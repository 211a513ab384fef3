//! Both digests of a stored object, computed as its bytes pass.

use sha2::Digest as _;

/// BLAKE3, SHA-256 and length of what was fed.
#[derive(Clone, Default)]
pub struct Digest {
    blake3: blake3::Hasher,
    sha256: sha2::Sha256,
    bytes: u64,
}

/// Lower-case hex digests and the byte count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    pub blake3: String,
    pub sha256: String,
    pub bytes: u64,
}

impl Digest {
    pub fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn finish(self) -> Digests {
        Digests {
            blake3: self.blake3.finalize().to_hex().to_string(),
            sha256: hex(&self.sha256.finalize()),
            bytes: self.bytes,
        }
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char])
        .collect()
}
