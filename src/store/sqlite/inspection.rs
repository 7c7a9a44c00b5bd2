//! Looks at the file without creating or changing anything, not even the two files that SQLite has beside it while it is open.

use std::fmt::Write;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::geteuid;

use super::worker::{MIGRATIONS, classify, failed, file};
use crate::store::{Inspection, SqliteConfig, StoreError};

/// The state of the file, and whether this account may use or create it.
pub(super) fn inspect(config: &SqliteConfig) -> Result<Inspection, StoreError> {
    let path = file(config);
    let found = match fs::metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return absent(config, &path),
        Err(error) => return Err(failed(&path, &error)),
    };
    let user = geteuid();
    if !user.is_root() && found.uid() != user.as_raw() {
        let error = io::Error::new(ErrorKind::PermissionDenied, "it belongs to another account than this one");
        return Err(failed(&path, &error));
    }
    may(&path, Access::READ_OK | Access::WRITE_OK)?;
    may(&config.state_dir, Access::WRITE_OK | Access::EXEC_OK)?;
    read(&path).map_err(classify).and_then(|version| {
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        match version {
            version if version > known => Err(StoreError::Newer { found: version, known }),
            version if version == known => Ok(Inspection::Ready),
            _ => Ok(Inspection::Outdated),
        }
    })
}

/// Nothing is there: whether this account may create it.
fn absent(config: &SqliteConfig, path: &Path) -> Result<Inspection, StoreError> {
    let existing = config.state_dir.ancestors().find(|folder| fs::symlink_metadata(folder).is_ok()).unwrap_or(Path::new("."));
    may(existing, Access::WRITE_OK | Access::EXEC_OK)?;
    let with = if existing == config.state_dir { "" } else { ", with its directory" };
    Ok(Inspection::Absent(format!("{}{with}", path.display())))
}

/// Whether the account of this process may do this with a path.
fn may(path: &Path, access: Access) -> Result<(), StoreError> {
    accessat(CWD, path, access, AtFlags::EACCESS).map_err(|error| failed(path, &error.into()))
}

/// The version of the tables. Where the file is open in another process, the newest pages are in the log beside it; without a log, the file
/// is complete, and is read as immutable, since SQLite would create a log.
fn read(path: &Path) -> rusqlite::Result<i64> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        Path::new(&name).exists()
    };
    let how = if beside("-wal") && beside("-shm") { "mode=ro&readonly_shm=1" } else { "immutable=1" };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(format!("file:{}?{how}", encoded(path)), flags)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > 0 {
        connection.execute_batch("SELECT 1 FROM sqlite_master LIMIT 1")?;
    }
    Ok(version)
}

/// A path in a URI of SQLite.
fn encoded(path: &Path) -> String {
    path.as_os_str().as_bytes().iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => text.push(char::from(*byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
        text
    })
}
