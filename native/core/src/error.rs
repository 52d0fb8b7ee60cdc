//! The engine's failures, in terms that TypeScript turns into the product's coded errors.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The system could not read a data file.
    Read,
    /// A data file ends before bytes that the block map promises.
    Truncated,
    /// Stored bytes do not decode to what the block map promises.
    Corrupt,
    /// A second pass met other data than the first.
    Changed,
    /// The system could not write the output.
    Write,
    /// Cancelled by the caller.
    Aborted,
    /// A defect of vdconv: the map or the layout broke the contract.
    Internal,
}

impl ErrorKind {
    /// The code of src/base/errors.ts.
    pub fn code(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Truncated => "truncated",
            Self::Corrupt => "corrupt",
            Self::Changed => "changed",
            Self::Write => "write",
            Self::Aborted => "aborted",
            Self::Internal => "internal",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Error {
    pub kind: ErrorKind,
    pub message: String,
    /// Index of the data file concerned; none for the output.
    pub file: Option<u32>,
    /// Byte offset in that file, or in the output.
    pub offset: Option<u64>,
    pub errno: Option<i32>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), file: None, offset: None, errno: None }
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    pub fn aborted() -> Self {
        Self::new(ErrorKind::Aborted, "cancelled")
    }

    pub fn changed() -> Self {
        Self::new(ErrorKind::Changed, "the source changed while it was read: its second reading differs from the first")
    }

    pub fn in_file(mut self, file: u32, offset: u64) -> Self {
        self.file = Some(file);
        self.offset = Some(offset);
        self
    }

    pub fn read(error: &std::io::Error, file: u32, offset: u64) -> Self {
        let mut e = Self::new(ErrorKind::Read, error.to_string()).in_file(file, offset);
        e.errno = error.raw_os_error();
        e
    }

    pub fn write(error: &std::io::Error, offset: u64) -> Self {
        let mut e = Self::new(ErrorKind::Write, error.to_string());
        e.offset = Some(offset);
        e.errno = error.raw_os_error();
        e
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.code(), self.message)
    }
}

impl std::error::Error for Error {}
