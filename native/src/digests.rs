//! Digests and MACs: BLAKE2b-256 and keyed BLAKE2s-128 (RFC 7693), by the RustCrypto crates.

use blake2::digest::consts::{U16, U32};
use blake2::digest::{Digest, FixedOutput, KeyInit, Update};
use blake2::{Blake2b, Blake2sMac};

pub const DIGEST_BYTES: usize = 32;
pub const MAC_BYTES: usize = 16;
pub const SECRET_BYTES: usize = 32;

/// `protocol.operations.digest`, of the parts one after the other.
pub fn digest(parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut state = Blake2b::<U32>::new();
    for part in parts {
        Digest::update(&mut state, part);
    }
    state.finalize().into()
}

/// MACs under several secrets, each absorbed once: `cluster.macs.macs_under`.
pub struct Macs {
    keyed: Vec<Blake2sMac<U16>>,
}

impl Macs {
    /// None if a secret has not the right size.
    pub fn under(secrets: &[Vec<u8>]) -> Option<Self> {
        let keyed = secrets.iter().map(|secret| {
            if secret.len() != SECRET_BYTES {
                return None;
            }
            Blake2sMac::<U16>::new_from_slice(secret).ok()
        });
        Some(Macs {
            keyed: keyed.collect::<Option<_>>()?,
        })
    }

    /// The MACs of a digest under each secret, one after the other.
    pub fn of(&self, digest: &[u8; DIGEST_BYTES]) -> Vec<u8> {
        let mut made = Vec::with_capacity(self.keyed.len() * MAC_BYTES);
        for state in &self.keyed {
            let mut state = state.clone();
            Update::update(&mut state, digest);
            made.extend_from_slice(&FixedOutput::finalize_fixed(state));
        }
        made
    }
}

/// Whether two strings of bytes are equal, in a time that tells nothing of where they differ.
pub fn are_equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |found, (a, b)| found | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(data: &[u8]) -> String {
        data.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_digest_is_blake2b_256() {
        assert_eq!(
            hex(&digest(&[b"a", b"bc"])),
            "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"
        );
    }

    #[test]
    fn the_mac_is_keyed_blake2s() {
        let macs = Macs::under(&[(0..32).collect(), vec![0; 32]])
            .unwrap()
            .of(&[0; 32]);
        assert_eq!(macs.len(), 32);
        assert_eq!(hex(&macs[..16]), "fb41a9b75f056d3a0daac0c9d6397e83"); // as tests/unit/test_cluster_macs.py
    }

    #[test]
    fn equality_looks_at_every_byte() {
        assert!(are_equal(b"abc", b"abc"));
        assert!(!are_equal(b"abc", b"abd"));
        assert!(!are_equal(b"abc", b"ab"));
    }
}
