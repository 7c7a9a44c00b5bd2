//! The names of operations that are alternatives to a refused one.

use crate::domain::Alternative;

/// The text that names the alternative.
pub(super) fn words(alternative: Alternative) -> &'static str {
    match alternative {
        Alternative::ReadLess => "ask for fewer bytes or lines, or use `ops/download`",
        Alternative::ReadFromOffset => "read it with `ops/view`",
        Alternative::ListInPages => "ask for pages with `pageSize`, for JSON lines with `Accept: application/x-ndjson`, or for no order",
        Alternative::WriteStream => {
            "send it with PUT to `ops/upload`, or as a resumable upload to `/uploads`; or use `transfer/upload` where the system has it"
        }
        Alternative::UnpackSeveral => {
            "send its members in several archives; or upload it with `transfer/upload` where the system has it, and unpack it with \
             `transfer/extract`"
        }
        Alternative::NewUpload => "this is the length that the upload was begun with; begin another one with the length of the file",
        Alternative::TransferJob => {
            "nothing that passes through this service may be larger; use `transfer/download` or `transfer/upload` by S3 or wormhole where \
             the system has them"
        }
        Alternative::OtherMethod => {
            "no transfer through this service moves larger ones; give another `transferMethod` if the system has one"
        }
        Alternative::CompressJob => "use `transfer/compress`, which runs as a job",
        Alternative::ExtractJob => "use `transfer/extract`, which runs as a job",
        Alternative::ChecksumJob => "run `sha256sum` in a job of your own",
        Alternative::ChecksumOfCopy => "download the file, and take its sum there",
    }
}
