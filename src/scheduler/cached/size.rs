//! The approximate memory of an answer, to bound the cache.

use crate::domain::{Account, Job, JobMetadata, JobStatus, JobStep, Node, Partition, Reservation};

/// The memory of a query, and of the tables around it.
const ENTRY_BYTES: usize = 2048;

/// A value whose memory can be computed.
pub(super) trait Size {
    /// In bytes, with all that it owns.
    fn size(&self) -> usize;
}

/// The memory of an answer with its rendering, which is about as large as the answer.
pub(super) fn of_entry(answer: &impl Size) -> usize {
    ENTRY_BYTES + 2 * answer.size()
}

impl<T: Size> Size for Vec<T> {
    fn size(&self) -> usize {
        self.iter().map(Size::size).sum()
    }
}

impl<T: Size> Size for Option<T> {
    fn size(&self) -> usize {
        self.as_ref().map_or(0, Size::size)
    }
}

impl Size for Job {
    fn size(&self) -> usize {
        let texts = [self.id.as_str(), &self.name, &self.cluster, &self.nodes, &self.partition, &self.working_directory];
        let optional = [&self.account, &self.group, &self.kill_request_user, &self.user];
        size_of::<Self>() + lengths(&texts) + optional_lengths(&optional) + owned(&self.status) + self.steps.size()
    }
}

impl Size for JobStep {
    fn size(&self) -> usize {
        size_of::<Self>() + lengths(&[&self.id, &self.name]) + owned(&self.status)
    }
}

impl Size for JobMetadata {
    fn size(&self) -> usize {
        let texts = [&self.script, &self.standard_input, &self.standard_output, &self.standard_error];
        size_of::<Self>() + self.id.as_str().len() + optional_lengths(&texts)
    }
}

impl Size for Node {
    fn size(&self) -> usize {
        let lists = self.features.iter().chain(&self.partitions).map(|text| size_of::<String>() + text.len()).sum::<usize>();
        size_of::<Self>() + self.name.len() + optional_lengths(&[&self.address, &self.hostname]) + lists + self.state.len()
    }
}

impl Size for Partition {
    fn size(&self) -> usize {
        let state = self.state.iter().map(|text| size_of::<String>() + text.len()).sum::<usize>();
        size_of::<Self>() + self.name.len() + state
    }
}

impl Size for Reservation {
    fn size(&self) -> usize {
        size_of::<Self>() + lengths(&[&self.name, &self.node_list]) + optional_lengths(&[&self.features, &self.state])
    }
}

impl Size for Account {
    fn size(&self) -> usize {
        size_of::<Self>() + self.name.len()
    }
}

/// The heap memory of a status.
fn owned(status: &JobStatus) -> usize {
    status.state.len() + optional_lengths(&[&status.reason])
}

fn lengths(texts: &[&str]) -> usize {
    texts.iter().map(|text| text.len()).sum()
}

fn optional_lengths(texts: &[&Option<String>]) -> usize {
    texts.iter().filter_map(|text| text.as_ref()).map(String::len).sum()
}
