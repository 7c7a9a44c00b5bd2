//! The division of a file into parts.

/// The maximum number of parts that an upload can have.
pub const MAX_PARTS: u16 = 10_000;

/// A file of a known size, cut into parts of which only the last may be smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartLayout {
    /// The file's size in bytes.
    pub size: u64,
    /// That of each part but the last.
    pub part_size: u64,
    /// The number of parts; an empty file has one.
    pub count: u16,
}

impl PartLayout {
    /// Cuts `size` bytes into parts of `part_size`.
    ///
    /// # Errors
    /// If there would be more than [`MAX_PARTS`].
    pub fn new(size: u64, part_size: u64) -> Result<Self, TooManyParts> {
        let part_size = part_size.max(1);
        let count = size.div_ceil(part_size).max(1);
        let count = u16::try_from(count).ok().filter(|count| *count <= MAX_PARTS).ok_or(TooManyParts { size, part_size })?;
        Ok(Self { size, part_size, count })
    }
}

/// A file is too large for parts of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{size} bytes are more than {MAX_PARTS} parts of {part_size} bytes: send the file in pieces of at most {} bytes, or ask the site to raise multipart.max_part_size",
    part_size.saturating_mul(MAX_PARTS.into())
)]
pub struct TooManyParts {
    size: u64,
    part_size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_part_is_smaller_and_an_empty_file_has_one() {
        for (size, part_size, count) in
            [(0, 5, 1), (1, 5, 1), (5, 5, 1), (6, 5, 2), (50_000, 5, 10_000), (3, 0, 3), (u64::MAX, u64::MAX, 1)]
        {
            assert_eq!(PartLayout::new(size, part_size).unwrap().count, count, "{size} by {part_size}");
        }
    }

    #[test]
    fn more_parts_than_a_store_takes_are_refused_with_what_would_be_taken() {
        for size in [50_001, u64::MAX] {
            let refusal = PartLayout::new(size, 5).unwrap_err().to_string();
            assert!(refusal.contains("at most 50000 bytes") && refusal.contains("max_part_size"), "{refusal}");
        }
    }
}
