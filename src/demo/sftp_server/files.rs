//! The file operations of the server. All of them block.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, Permissions, ReadDir};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, Timespec, Timestamps};

use super::names;
use crate::domain::FileType;
use crate::filesystem::sftp::protocol::{
    Attributes, FileSystemSpace, MAX_PACKET, NameEntry, OpenFlags, Request, Response, ServerLimits, Status, encode_names,
};

/// Open files and directories of one session, at most.
const MAX_HANDLES: usize = 128;

/// Names in one answer to READDIR. Each takes 255 bytes and its line, so that they fit into a packet.
const NAMES: usize = 128;

/// The longest read or write; a packet holds it with its header.
const MAX_READ: u32 = 255 * 1024;

/// The open files of a session.
pub struct Files {
    open: HashMap<Bytes, Open>,
    next: u64,
}

enum Open {
    File(File),
    Directory(ReadDir, PathBuf),
}

/// Anything that the server cannot do.
enum Refusal {
    Io(io::Error),
    Status(Status, &'static str),
}

impl<E: Into<io::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

impl Files {
    /// Nothing open.
    pub fn new() -> Self {
        Self { open: HashMap::new(), next: 0 }
    }

    /// Does what a request asks.
    pub fn answer(&mut self, request: Request) -> Response {
        self.perform(request).unwrap_or_else(|refusal| match refusal {
            Refusal::Status(status, message) => Response::Status { status, message: Bytes::from_static(message.as_bytes()) },
            Refusal::Io(error) => {
                let text = error.to_string();
                // Without the number that the standard library puts behind.
                let message = text.split(" (os error").next().unwrap_or_default().to_owned();
                Response::Status { status: status(&error), message: message.into() }
            }
        })
    }

    fn perform(&mut self, request: Request) -> Result<Response, Refusal> {
        match request {
            Request::Init { .. } | Request::Extended { .. } => Err(Refusal::Status(Status::Unsupported, "Operation unsupported")),
            Request::Open { path, flags, attributes } => self.open_file(&path, flags, attributes),
            Request::Close { handle } => match self.open.remove(&handle) {
                Some(_) => Ok(done()),
                None => Err(no_handle()),
            },
            Request::Read { handle, offset, length } => read(self.file(&handle)?, offset, length),
            Request::Write { handle, offset, data } => {
                self.file(&handle)?.write_all_at(&data, offset)?;
                Ok(done())
            }
            Request::Lstat { path } => Ok(attributes_of(&fs::symlink_metadata(local(&path))?)),
            Request::Stat { path } => Ok(attributes_of(&fs::metadata(local(&path))?)),
            Request::Fstat { handle } => Ok(attributes_of(&self.file(&handle)?.metadata()?)),
            Request::Setstat { path, attributes } => set_attributes(&local(&path), attributes),
            Request::Fsetstat { handle, attributes } => set_file_attributes(self.file(&handle)?, attributes),
            Request::Opendir { path } => {
                let path = local(&path);
                let directory = fs::read_dir(&path)?;
                self.keep(Open::Directory(directory, path))
            }
            Request::Readdir { handle } => self.read_directory(&handle),
            Request::Remove { path } => nothing(fs::remove_file(local(&path))),
            Request::Rmdir { path } => nothing(fs::remove_dir(local(&path))),
            Request::Mkdir { path, attributes } => {
                Ok(rustix::fs::mkdir(local(&path), Mode::from_raw_mode(attributes.mode.unwrap_or(0o777) & 0o7777)).map(|()| done())?)
            }
            Request::Realpath { path } => Ok(path_answer(canonical(&local(&path))?)),
            Request::Readlink { path } => Ok(path_answer(fs::read_link(local(&path))?)),
            Request::Rename { from, to } => {
                Ok(rustix::fs::renameat_with(CWD, local(&from), CWD, local(&to), RenameFlags::NOREPLACE).map(|()| done())?)
            }
            Request::PosixRename { from, to } => nothing(fs::rename(local(&from), local(&to))),
            Request::Symlink { target, link } => nothing(std::os::unix::fs::symlink(OsStr::from_bytes(&target), local(&link))),
            Request::Hardlink { from, to } => nothing(fs::hard_link(local(&from), local(&to))),
            Request::CopyData { from, to, offset, length } => copy_data(self.file(&from)?, self.file(&to)?, offset, length),
            Request::Statvfs { path } => space(&local(&path)),
            Request::Fsync { handle } => nothing(self.file(&handle)?.sync_all()),
            Request::Limits => Ok(limits()),
            Request::UsersGroupsById { users, groups } => {
                Ok(Response::ExtendedReply { data: encode_names(&names::users(&users), &names::groups(&groups)) })
            }
        }
    }

    fn open_file(&mut self, path: &Bytes, flags: OpenFlags, attributes: Attributes) -> Result<Response, Refusal> {
        // Not blocking: a named pipe without a writer would hold the thread for ever.
        let mut how = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        how |= match (flags.has(OpenFlags::READ), flags.has(OpenFlags::WRITE)) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            _ => OFlags::RDONLY,
        };
        let also = [
            (OpenFlags::APPEND, OFlags::APPEND),
            (OpenFlags::CREATE, OFlags::CREATE),
            (OpenFlags::TRUNCATE, OFlags::TRUNC),
            (OpenFlags::EXCLUSIVE, OFlags::EXCL),
        ];
        also.into_iter().filter(|(flag, _)| flags.has(*flag)).for_each(|(_, flag)| how |= flag);
        let mode = Mode::from_raw_mode(attributes.mode.unwrap_or(0o666) & 0o7777);
        let file = rustix::fs::open(local(path), how, mode)?;
        self.keep(Open::File(file.into()))
    }

    fn keep(&mut self, open: Open) -> Result<Response, Refusal> {
        if self.open.len() >= MAX_HANDLES {
            return Err(Refusal::Status(Status::Failure, "Too many open files"));
        }
        let handle = Bytes::copy_from_slice(&self.next.to_be_bytes());
        self.next += 1;
        self.open.insert(handle.clone(), open);
        Ok(Response::Handle { handle })
    }

    fn file(&self, handle: &Bytes) -> Result<&File, Refusal> {
        match self.open.get(handle) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(no_handle()),
        }
    }

    fn read_directory(&mut self, handle: &Bytes) -> Result<Response, Refusal> {
        let Some(Open::Directory(directory, path)) = self.open.get_mut(handle) else { return Err(no_handle()) };
        let mut entries = Vec::new();
        for found in directory.by_ref().take(NAMES) {
            let name = found?.file_name();
            // Removed since the directory was read.
            let Ok(metadata) = fs::symlink_metadata(path.join(&name)) else { continue };
            let name = Bytes::from(name.into_vec());
            entries.push(NameEntry { long_name: long_name(&name, &metadata), name, attributes: attributes(&metadata) });
        }
        match entries.is_empty() {
            true => Err(Refusal::Status(Status::Eof, "End of file")),
            false => Ok(Response::Name { entries }),
        }
    }
}

fn read(file: &File, offset: u64, length: u32) -> Result<Response, Refusal> {
    let mut data = vec![0; length.min(MAX_READ) as usize];
    match file.read_at(&mut data, offset)? {
        0 => Err(Refusal::Status(Status::Eof, "End of file")),
        read => {
            data.truncate(read);
            Ok(Response::Data { data: data.into() })
        }
    }
}

/// The space of the file system that a path is on.
fn space(path: &Path) -> Result<Response, Refusal> {
    let found = rustix::fs::statvfs(path)?;
    let space = FileSystemSpace {
        is_read_only: found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        block: found.f_frsize,
        blocks: found.f_blocks,
        free: found.f_bfree,
        available: found.f_bavail,
        files: found.f_files,
        files_free: found.f_ffree,
    };
    Ok(Response::ExtendedReply { data: space.encode() })
}

/// The server's limits of one request.
fn limits() -> Response {
    let limits = ServerLimits { packet: MAX_PACKET as u64, read: MAX_READ.into(), write: MAX_READ.into(), handles: MAX_HANDLES as u64 };
    Response::ExtendedReply { data: limits.encode() }
}

/// Copies so many bytes; a length of 0 stands for all that there are.
fn copy_data(from: &File, to: &File, mut offset: u64, length: u64) -> Result<Response, Refusal> {
    let mut left = if length == 0 { u64::MAX } else { length };
    let mut buffer = vec![0; MAX_READ as usize];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match from.read_at(&mut buffer[..wanted], offset)? {
            0 if length == 0 => break,
            0 => return Err(Refusal::Status(Status::Eof, "End of file")),
            read => {
                to.write_all_at(&buffer[..read], offset)?;
                offset += read as u64;
                left -= read as u64;
            }
        }
    }
    Ok(done())
}

fn done() -> Response {
    Response::Status { status: Status::Ok, message: Bytes::from_static(b"Success") }
}

fn nothing(result: io::Result<()>) -> Result<Response, Refusal> {
    Ok(result.map(|()| done())?)
}

fn no_handle() -> Refusal {
    Refusal::Status(Status::Failure, "Invalid handle")
}

/// A path of a request. A relative one starts at the home directory, as where a login shell starts.
fn local(path: &Bytes) -> PathBuf {
    let path = Path::new(OsStr::from_bytes(path));
    match path.is_absolute() {
        true => path.to_owned(),
        false => std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")).join(path),
    }
}

/// The canonical path; the last part need not exist.
fn canonical(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let target = fs::read_link(path).unwrap_or_else(|_| path.to_owned());
            let target = path.parent().map_or(target.clone(), |parent| parent.join(target));
            match (target.parent(), target.file_name()) {
                (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
                _ => Err(error),
            }
        }
        other => other,
    }
}

fn path_answer(path: PathBuf) -> Response {
    let name = Bytes::from(OsString::from(path).into_vec());
    Response::Name { entries: vec![NameEntry { long_name: name.clone(), name, attributes: Attributes::default() }] }
}

fn attributes_of(metadata: &Metadata) -> Response {
    Response::Attrs { attributes: attributes(metadata) }
}

fn attributes(metadata: &Metadata) -> Attributes {
    // Times before 1970 and after 2106 have no place in version 3.
    let time = |seconds: i64| u32::try_from(seconds.max(0)).unwrap_or(u32::MAX);
    Attributes {
        size: Some(metadata.size()),
        owner: Some((metadata.uid(), metadata.gid())),
        mode: Some(metadata.mode()),
        times: Some((time(metadata.atime()), time(metadata.mtime()))),
    }
}

fn set_attributes(path: &Path, attributes: Attributes) -> Result<Response, Refusal> {
    if let Some(size) = attributes.size {
        rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).map(File::from)?.set_len(size)?;
    }
    if let Some(mode) = attributes.mode {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))?;
    }
    if let Some((user, group)) = attributes.owner {
        std::os::unix::fs::chown(path, Some(user), Some(group))?;
    }
    if let Some(times) = attributes.times {
        rustix::fs::utimensat(CWD, path, &timestamps(times), AtFlags::empty())?;
    }
    Ok(done())
}

fn set_file_attributes(file: &File, attributes: Attributes) -> Result<Response, Refusal> {
    if let Some(size) = attributes.size {
        file.set_len(size)?;
    }
    if let Some(mode) = attributes.mode {
        file.set_permissions(Permissions::from_mode(mode & 0o7777))?;
    }
    if let Some((user, group)) = attributes.owner {
        std::os::unix::fs::fchown(file, Some(user), Some(group))?;
    }
    if let Some(times) = attributes.times {
        rustix::fs::futimens(file, &timestamps(times))?;
    }
    Ok(done())
}

fn timestamps((accessed, modified): (u32, u32)) -> Timestamps {
    let time = |seconds: u32| Timespec { tv_sec: seconds.into(), tv_nsec: 0 };
    Timestamps { last_access: time(accessed), last_modification: time(modified) }
}

/// The status for an error, as OpenSSH's server chooses it.
fn status(error: &io::Error) -> Status {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::BADF | Errno::LOOP) => Status::NoSuchFile,
        Some(Errno::PERM | Errno::ACCESS | Errno::FAULT) => Status::PermissionDenied,
        Some(Errno::NAMETOOLONG | Errno::INVAL) => Status::BadMessage,
        Some(Errno::NOSYS) => Status::Unsupported,
        _ => Status::Failure,
    }
}

/// The line for people, in the form of `ls -ln`.
fn long_name(name: &[u8], metadata: &Metadata) -> Bytes {
    let bits = (0..9).rev().map(|bit| if metadata.mode() >> bit & 1 == 1 { [b'x', b'w', b'r'][bit % 3] } else { b'-' });
    let mode: String = std::iter::once(FileType::from_mode(metadata.mode()).letter()).chain(bits.map(char::from)).collect();
    let time = jiff::Timestamp::from_second(metadata.mtime()).unwrap_or_default().strftime("%b %e %H:%M").to_string();
    let line = format!("{mode} {:>4} {:<8} {:<8} {:>8} {time} ", metadata.nlink(), metadata.uid(), metadata.gid(), metadata.size());
    [line.as_bytes(), name].concat().into()
}
