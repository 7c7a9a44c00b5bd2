//! Batches on the wire.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::filesystem::{CopyOptions, ListOptions, Sort};
use crate::http::extract::parameters::lenient;
use crate::http::filesystem::model::file::{File, FileChecksum, FileStat};
use crate::http::filesystem::model::listing::{Direction, SortBy, ordered};
use crate::service::batch::{Operation, Output};
use crate::service::entries::PageQuery;

/// Operations to perform.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"operations": [
    {"op": "mkdir", "sourcePath": "/home/user/run"},
    {"op": "stat", "sourcePath": "/home/user/input.dat"},
]}))]
pub(in crate::http) struct PostBatchRequest {
    /// The operations, at most 1000.
    pub(in crate::http) operations: Vec<BatchOperation>,
    /// Perform them one after the other, up to the first that fails; otherwise many run at once, in no order.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[schema(default = false)]
    pub(in crate::http) ordered: bool,
}

/// An operation, with the members of the request of the same name. `path` and `source_path` are understood for `sourcePath`.
// The variants say how their members are named: utoipa does not read `rename_all_fields`.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
pub(in crate::http) enum BatchOperation {
    /// The status of a file.
    Stat {
        #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
        path: String,
        #[serde(default)]
        dereference: bool,
    },
    /// One page of a directory, of at most 1000 entries; at most 20000 for all listings of a batch.
    #[serde(rename_all = "camelCase")]
    Ls {
        #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
        path: String,
        #[serde(default)]
        show_hidden: bool,
        #[serde(default)]
        numeric_uid: bool,
        #[serde(default)]
        dereference: bool,
        page_size: Option<u64>,
        cursor: Option<String>,
        #[schema(value_type = Option<SortBy>)]
        sort: Option<Sort>,
        order: Option<Direction>,
    },
    /// The SHA-256 of a file.
    Checksum {
        #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
        path: String,
    },
    /// Make a directory.
    Mkdir {
        #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
        path: String,
        #[serde(default)]
        parent: bool,
    },
    /// Remove a file or directory.
    Rm {
        #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
        path: String,
    },
    /// Move to another name.
    #[serde(rename_all = "camelCase")]
    Mv {
        #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
        path: String,
        target_path: String,
        #[serde(default)]
        overwrite: bool,
    },
    /// Copy to another name.
    #[serde(rename_all = "camelCase")]
    Cp {
        #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
        path: String,
        target_path: String,
        #[serde(default)]
        dereference: bool,
        #[serde(default)]
        overwrite: bool,
    },
    /// Set permission bits.
    Chmod {
        #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
        path: String,
        mode: String,
    },
    /// Set owner and group.
    Chown {
        #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
        path: String,
        #[serde(default, deserialize_with = "lenient::text")]
        owner: String,
        #[serde(default, deserialize_with = "lenient::text")]
        group: String,
    },
    /// Make a symbolic link.
    #[serde(rename_all = "camelCase")]
    Symlink {
        #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
        path: String,
        link_path: String,
    },
    /// Set a file's times to now, or make an empty one.
    Touch {
        #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
        path: String,
    },
}

impl From<BatchOperation> for Operation {
    fn from(operation: BatchOperation) -> Self {
        match operation {
            BatchOperation::Stat { path, dereference } => Self::Stat { path, dereference },
            BatchOperation::Ls { path, show_hidden, numeric_uid, dereference, page_size, cursor, sort, order } => {
                let options = ListOptions { hidden: show_hidden, numeric_ids: numeric_uid, recursive: false, dereference };
                Self::List { path, options, page: PageQuery { size: page_size, cursor, order: ordered(sort, order) } }
            }
            BatchOperation::Checksum { path } => Self::Checksum { path },
            BatchOperation::Mkdir { path, parent } => Self::MakeDirectory { path, parents: parent },
            BatchOperation::Rm { path } => Self::Remove { path },
            BatchOperation::Mv { path, target_path, overwrite } => Self::Move { source: path, target: target_path, overwrite },
            BatchOperation::Cp { path, target_path, dereference, overwrite } => {
                Self::Copy { source: path, target: target_path, options: CopyOptions { dereference, overwrite } }
            }
            BatchOperation::Chmod { path, mode } => Self::Chmod { path, mode },
            BatchOperation::Chown { path, owner, group } => Self::Chown { path, owner, group },
            BatchOperation::Symlink { path, link_path } => Self::Symlink { target: path, link: link_path },
            BatchOperation::Touch { path } => Self::Touch { path },
        }
    }
}

/// The outcomes of the operations.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PostBatchResponse {
    /// One for each operation, in the order of the request.
    pub(in crate::http) results: Vec<BatchResult>,
    /// The number of operations that failed.
    pub(in crate::http) failed: usize,
}

/// The outcome of one operation.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct BatchResult {
    /// The status of a separate request for the same operation; 409 if it was not started because an earlier one failed.
    pub(in crate::http) status: u16,
    /// The result: a status, a page (`entries`, `cursor`), a checksum, or the entry that was created or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) output: Option<BatchOutput>,
    /// The error, as in the body of a separate request for the same operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::http::problem::ApiResponseError<'static>>)]
    pub(in crate::http) error: Option<Value>,
}

/// The result of an operation.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum BatchOutput {
    Stat(FileStat),
    Checksum(FileChecksum),
    Entry(File),
    Page { entries: Vec<File>, cursor: Option<String> },
}

impl BatchOutput {
    /// The result of an operation, if it has one.
    pub(in crate::http) fn new(given: Output) -> Option<Self> {
        match given {
            Output::Stat(stat) => Some(Self::Stat(stat.into())),
            Output::Page(found) => Some(Self::Page { entries: found.entries.into_iter().map(File::from).collect(), cursor: found.cursor }),
            Output::Checksum(checksum) => Some(Self::Checksum(checksum.into())),
            Output::Entry(entry) => Some(Self::Entry(entry.into())),
            Output::Nothing => None,
        }
    }
}
