//! `/filesystem/{system_name}/transfer`: operations that outlast a request. None is supported yet; each says so.

use axum::http::StatusCode;

use super::problem::Problem;
use crate::service::{Access, transfers};

/// Defines the operations, which differ in name only.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident, $method:ident, $path:literal, $id:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// Not supported by this version: the answer is always 501.
        #[utoipa::path(
            $method,
            path = $path,
            operation_id = $id,
            tag = "filesystem",
            responses((status = 501, description = "Not supported by this version", body = super::problem::ApiResponseError))
        )]
        pub(super) async fn $name(access: Access) -> Result<StatusCode, Problem> {
            transfers::start(&access, stringify!($name))?;
            Ok(StatusCode::CREATED)
        }
    )*};
}

operations! {
    /// Move files as a job
    mv, post, "/filesystem/{system_name}/transfer/mv", "move_mv_filesystem__system_name__transfer_mv_post";
    /// Copy files as a job
    cp, post, "/filesystem/{system_name}/transfer/cp", "post_cp_filesystem__system_name__transfer_cp_post";
    /// Remove files as a job
    rm, delete, "/filesystem/{system_name}/transfer/rm", "delete_rm_filesystem__system_name__transfer_rm_delete";
    /// Pack files as a job
    compress, post, "/filesystem/{system_name}/transfer/compress", "compress_filesystem__system_name__transfer_compress_post";
    /// Unpack an archive as a job
    extract, post, "/filesystem/{system_name}/transfer/extract", "extract_filesystem__system_name__transfer_extract_post";
    /// Upload a large file
    upload, post, "/filesystem/{system_name}/transfer/upload", "post_upload_filesystem__system_name__transfer_upload_post";
    /// Download a large file
    download, post, "/filesystem/{system_name}/transfer/download", "post_download_filesystem__system_name__transfer_download_post";
}
