//! The algorithms and buffer sizes of connections.

use std::borrow::Cow;
use std::time::Duration;

use russh::client;
use russh::{Preferred, SshId, cipher, compression};

use crate::ssh::connect::host_keys::KnownKeys;
use crate::ssh::transport::LaneKind;

/// Bytes that the server may send ahead on one channel. The library opens the window anew only when less than half of it is left, so
/// that half is the data of one round trip on a long line: for bulk data, the amount that a transfer requests ahead. It costs no memory:
/// contents are only sent on request, by SFTP and by `channel::metered`, and anything else stops at [`CHANNEL_BUFFER`].
const CONTROL_WINDOW: u32 = 1 << 20;
const BULK_WINDOW: u32 = 16 << 20;

/// Messages of one channel that wait for their reader before the connection stops reading.
const CHANNEL_BUFFER: usize = 64;

/// The maximum packet size: the one that OpenSSH itself sends.
const PACKET: u32 = 32 * 1024;

/// The settings of a connection to a server with these known keys.
pub(crate) fn client_config(kind: LaneKind, known: &KnownKeys, keep_alive: Duration, keepalives: u32) -> client::Config {
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-Goldcrest_", env!("CARGO_PKG_VERSION")))),
        window_size: match kind {
            LaneKind::Control => CONTROL_WINDOW,
            LaneKind::Bulk => BULK_WINDOW,
        },
        maximum_packet_size: PACKET,
        channel_buffer_size: CHANNEL_BUFFER,
        keepalive_interval: Some(keep_alive),
        keepalive_max: usize::try_from(keepalives).unwrap_or(usize::MAX),
        nodelay: true,
        preferred: Preferred {
            key: Cow::Owned(known.algorithms()),
            host_key_certificates: Cow::Owned(known.certificate_algorithms()),
            cipher: Cow::Borrowed(ciphers()),
            // Compression costs time on the networks that clusters have, and has leaked secrets elsewhere.
            compression: Cow::Borrowed(&[compression::NONE]),
            // Key exchange and MAC: the library's lists, which hold no SHA-1 and no group below 2048 bits.
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    }
}

/// AES-GCM first where the processor does AES in hardware, ChaCha20 first elsewhere; CBC never.
fn ciphers() -> &'static [cipher::Name] {
    if hardware_aes() {
        &[cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR, cipher::AES_128_CTR]
    } else {
        &[cipher::CHACHA20_POLY1305, cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::AES_256_CTR, cipher::AES_128_CTR]
    }
}

#[cfg(target_arch = "x86_64")]
fn hardware_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn hardware_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn hardware_aes() -> bool {
    false
}
