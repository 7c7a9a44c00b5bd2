//! Digests that stand for a value: in the key of a cache, or in a name.

use aws_lc_rs::digest::{SHA256, digest};

/// The SHA-256 digest of this content.
pub fn sha256(content: &[u8]) -> [u8; 32] {
    let mut found = [0; 32];
    found.copy_from_slice(digest(&SHA256, content).as_ref());
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::hex;

    #[test]
    fn the_digest_is_that_of_the_standard() {
        assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
