//! The incoming data of a session's channel: packets are cut from it without a copy, and their memory is reused.
//!
//! Fresh memory for each block of a file costs more than its decryption, because the kernel clears every page of it. It must not
//! know what the packets mean.

use std::collections::VecDeque;

use bytes::buf::Limit;
use bytes::{BufMut, Bytes, BytesMut};

use super::super::protocol::{MAX_PACKET, Malformed, packet_size, split_packet};

/// The size of a read from the channel if the size of the next packet is unknown, in bytes.
const READ_AHEAD: usize = 64 * 1024;

/// The size of buffers for more than that. All have it, so that each can be used again for any packet.
const LARGE: usize = 4 + MAX_PACKET;

/// The maximum number of buffers that are kept for their memory. It is more than a transfer has blocks on their way.
const MAX_KEPT: usize = 64;

/// Bytes in the order of their arrival.
pub(super) struct Incoming {
    buffer: BytesMut,
    is_large: bool,
    /// The size of the last packet, with its length field. In a transfer, the next one has the same.
    last: usize,
    /// Former large buffers, the oldest first. Packets of theirs may be in use, and that of the first is the first to be let go.
    kept: VecDeque<BytesMut>,
}

impl Incoming {
    /// Begins with what has arrived already.
    pub(super) fn new(buffer: BytesMut) -> Self {
        Self { buffer, is_large: false, last: 0, kept: VecDeque::new() }
    }

    /// The next whole packet, without its length.
    ///
    /// # Errors
    /// If its length is none that a packet can have.
    pub(super) fn packet(&mut self) -> Result<Option<Bytes>, Malformed> {
        let packet = split_packet(&mut self.buffer)?;
        if let Some(packet) = &packet {
            self.last = 4 + packet.len();
        }
        Ok(packet)
    }

    /// Where to put what comes next: not beyond the end of a packet that has begun, so that the one behind it begins a buffer.
    ///
    /// # Errors
    /// If the length of the packet that has begun is none that a packet can have.
    pub(super) fn room(&mut self) -> Result<Limit<&mut BytesMut>, Malformed> {
        let held = self.buffer.len();
        let missing = match packet_size(&self.buffer)? {
            Some(size) if 4 + size > held => 4 + size - held,
            _ => READ_AHEAD.max(self.last).saturating_sub(held).max(1),
        };
        if !self.buffer.try_reclaim(missing) {
            self.change(held + missing);
        }
        Ok((&mut self.buffer).limit(missing))
    }

    /// Takes another buffer of at least this size, and moves over the beginning of the next packet.
    fn change(&mut self, size: usize) {
        let is_large = size > READ_AHEAD;
        let free = is_large && self.kept.front_mut().is_some_and(|oldest| oldest.try_reclaim(LARGE));
        let kept = if free { self.kept.pop_front() } else { None };
        let mut next = kept.unwrap_or_else(|| BytesMut::with_capacity(if is_large { LARGE } else { READ_AHEAD }));
        next.extend_from_slice(&self.buffer);
        self.buffer.clear();
        let former = std::mem::replace(&mut self.buffer, next);
        if std::mem::replace(&mut self.is_large, is_large) && self.kept.len() < MAX_KEPT {
            self.kept.push_back(former);
        }
    }

    /// Releases the memory for large packets, because none is expected.
    pub(super) fn rest(&mut self) {
        self.kept.clear();
        self.last = 0;
        if self.is_large && self.buffer.is_empty() {
            (self.buffer, self.is_large) = (BytesMut::new(), false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(incoming: &mut Incoming, mut bytes: &[u8]) -> usize {
        let mut buffers = 0;
        while !bytes.is_empty() {
            let mut room = incoming.room().unwrap();
            let fits = room.remaining_mut().min(bytes.len());
            room.put_slice(&bytes[..fits]);
            bytes = &bytes[fits..];
            buffers += 1;
        }
        buffers
    }

    fn packet(content: &[u8]) -> Vec<u8> {
        [&u32::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
    }

    #[test]
    fn the_memory_of_a_packet_that_was_let_go_is_used_again() {
        let mut incoming = Incoming::new(BytesMut::new());
        let bytes = packet(&[7; 200_000]);
        let mut seen = Vec::new();
        for _ in 0..10 {
            put(&mut incoming, &bytes);
            let packet = incoming.packet().unwrap().unwrap();
            assert_eq!(packet, bytes[4..]);
            seen.push(packet.as_ptr());
        }
        // When the first has begun, nothing is known of it yet.
        assert_eq!(seen[2..].iter().collect::<std::collections::BTreeSet<_>>().len(), 1, "{seen:?}");
    }

    #[test]
    fn a_packet_that_is_in_use_is_not_written_over() {
        let mut incoming = Incoming::new(BytesMut::new());
        let mut held = VecDeque::new();
        for round in 0..200u8 {
            let bytes = packet(&vec![round; 100_000 + usize::from(round)]);
            put(&mut incoming, &bytes);
            held.push_back((round, incoming.packet().unwrap().unwrap()));
            if held.len() > 5 {
                let (round, packet) = held.pop_front().unwrap();
                assert_eq!(packet.len(), 100_000 + usize::from(round));
                assert!(packet.iter().all(|byte| *byte == round));
            }
        }
        assert!(incoming.kept.len() <= 8, "{} are kept", incoming.kept.len());
    }

    #[test]
    fn what_arrives_in_any_pieces_comes_out_as_it_was() {
        let contents: Vec<Vec<u8>> = (1..60u8).map(|number| vec![number; usize::from(number).pow(2) * 37]).collect();
        let bytes: Vec<u8> = contents.iter().flat_map(|content| packet(content)).collect();
        for piece in [1, 7, 4096, 70_000] {
            let mut incoming = Incoming::new(BytesMut::new());
            let mut found = Vec::new();
            for piece in bytes.chunks(piece) {
                let mut left = piece;
                while !left.is_empty() {
                    let mut room = incoming.room().unwrap();
                    let fits = room.remaining_mut().min(left.len());
                    room.put_slice(&left[..fits]);
                    left = &left[fits..];
                    while let Some(packet) = incoming.packet().unwrap() {
                        found.push(packet.to_vec());
                    }
                }
            }
            assert_eq!(found, contents, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_length_that_no_packet_has_is_refused_before_there_is_memory_for_it() {
        let mut incoming = Incoming::new(BytesMut::from(&[0xff; 8][..]));
        assert!(incoming.room().is_err());
        assert!(incoming.buffer.capacity() < 1000);
    }

    #[test]
    fn nothing_is_kept_of_many_small_packets_beyond_the_buffer() {
        let mut incoming = Incoming::new(BytesMut::new());
        for _ in 0..10_000 {
            put(&mut incoming, &packet(b"little"));
            assert!(incoming.packet().unwrap().is_some());
        }
        assert!(incoming.kept.is_empty());
    }
}
