//! `head` and `tail`: the ends of files, found without reading the rest.

use futures::StreamExt;

use super::read::Source;
use crate::domain::ContentUnit;
use crate::filesystem::{FilesystemError, Part};

/// The first read of a search for lines: most of the time it holds them.
const FIRST_READ_BYTES: u32 = 16 * 1024;

/// Why a part was not read.
pub enum Stop {
    /// More would have to be read than this session is for.
    Budget,
    /// It cannot be read.
    Error(FilesystemError),
}

impl From<FilesystemError> for Stop {
    fn from(error: FilesystemError) -> Self {
        Self::Error(error)
    }
}

/// Reads parts of one file.
pub struct PartReader<'a> {
    /// The file.
    pub source: &'a Source,
    /// The maximum size of the answer, in bytes.
    pub cap: u64,
    /// The maximum number of bytes read.
    pub budget: u64,
}

impl PartReader<'_> {
    /// The output of `head`.
    ///
    /// # Errors
    /// If it is over the cap or the budget, or cannot be read.
    pub async fn head(&mut self, part: Part) -> Result<Vec<u8>, Stop> {
        match (part.unit, part.skip) {
            (ContentUnit::Bytes, false) => self.range(0, part.count.min(self.source.size())).await,
            (ContentUnit::Bytes, true) => self.range(0, self.source.size().saturating_sub(part.count)).await,
            (ContentUnit::Lines, false) => self.first_lines(part.count).await,
            (ContentUnit::Lines, true) => {
                let (end, _) = self.last_lines(part.count, u64::MAX).await?;
                self.range(0, end).await
            }
        }
    }

    /// The output of `tail`.
    ///
    /// # Errors
    /// If it is over the cap or the budget, or cannot be read.
    pub async fn tail(&mut self, part: Part) -> Result<Vec<u8>, Stop> {
        let size = self.source.size();
        let start = match (part.unit, part.skip) {
            (ContentUnit::Bytes, false) => size.saturating_sub(part.count),
            (ContentUnit::Bytes, true) => part.count.min(size),
            (ContentUnit::Lines, false) => match self.last_lines(part.count, self.cap).await? {
                (_, Some(lines)) if lines.len() as u64 <= self.cap => return Ok(lines),
                (start, _) => start,
            },
            (ContentUnit::Lines, true) => self.end_of_first_lines(part.count).await?,
        };
        self.range(start, size - start).await
    }

    async fn range(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, Stop> {
        if length > self.cap {
            return Err(FilesystemError::TooLarge(self.cap).into());
        }
        self.spend(length)?;
        Ok(self.source.bytes(offset, length).await?)
    }

    fn spend(&mut self, length: u64) -> Result<(), Stop> {
        self.budget = self.budget.checked_sub(length).ok_or(Stop::Budget)?;
        Ok(())
    }

    async fn first_lines(&mut self, count: u64) -> Result<Vec<u8>, Stop> {
        let (mut data, mut left) = (Vec::new(), count);
        if left == 0 {
            return Ok(data);
        }
        let mut pieces = std::pin::pin!(self.source.range(0, self.source.size(), Some(FIRST_READ_BYTES)));
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            self.spend(piece.len() as u64)?;
            let end = nth_newline(&piece, &mut left);
            data.extend_from_slice(&piece[..end.map_or(piece.len(), |at| at + 1)]);
            if data.len() as u64 > self.cap {
                return Err(FilesystemError::TooLarge(self.cap).into());
            }
            if end.is_some() {
                break;
            }
        }
        Ok(data)
    }

    async fn end_of_first_lines(&mut self, count: u64) -> Result<u64, Stop> {
        let (mut at, mut left) = (0, count);
        if left == 0 {
            return Ok(0);
        }
        let mut pieces = std::pin::pin!(self.source.range(0, self.source.size(), Some(FIRST_READ_BYTES)));
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            self.spend(piece.len() as u64)?;
            if let Some(end) = nth_newline(&piece, &mut left) {
                return Ok(at + end as u64 + 1);
            }
            at += piece.len() as u64;
        }
        Ok(at)
    }

    /// Where the last `count` lines start, looking back from the end in growing steps; and the lines, if the first step found them. A last line
    /// without a newline counts as one. Gives up, as over the cap, when they are longer than `longest`.
    async fn last_lines(&mut self, count: u64, longest: u64) -> Result<(u64, Option<Vec<u8>>), Stop> {
        let size = self.source.size();
        if count == 0 {
            return Ok((size, None));
        }
        let (mut end, mut left, mut step) = (size, count, u64::from(FIRST_READ_BYTES));
        while end > 0 {
            let start = end.saturating_sub(step);
            self.spend(end - start)?;
            let mut data = self.source.bytes(start, end - start).await?;
            if (data.len() as u64) < end - start {
                return Err(self.source.shortened().into());
            }
            // The last byte of the file ends the last line, whether it is a newline or not.
            let searched = if end == size { data.len() - 1 } else { data.len() };
            for at in (0..searched).rev().filter(|&at| data[at] == b'\n') {
                left -= 1;
                if left == 0 {
                    let lines = (end == size).then(|| data.split_off(at + 1));
                    return Ok((start + at as u64 + 1, lines));
                }
            }
            if size - start > longest {
                return Err(FilesystemError::TooLarge(self.cap).into());
            }
            if start == 0 && end == size {
                return Ok((0, Some(data)));
            }
            end = start;
            step = (step * 4).min(8 * 1024 * 1024);
        }
        Ok((0, None))
    }
}

/// Where the `left`-th newline from here is; counts `left` down by those that are not enough.
fn nth_newline(data: &[u8], left: &mut u64) -> Option<usize> {
    for (at, _) in data.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        *left -= 1;
        if *left == 0 {
            return Some(at);
        }
    }
    None
}
