//! Files mapped into memory: the only place of this crate with `unsafe`.

use std::fs::File;
use std::io;
use std::path::Path;

use arrow_buffer::Buffer;

/// Maps a file that has this length. The map stays valid when the file is deleted.
///
/// # Errors
/// The operating system failed, or the file has another length.
#[expect(unsafe_code, reason = "a file cannot be mapped without")]
pub(crate) fn map(path: &Path, length: u64) -> io::Result<Buffer> {
    let file = File::open(path)?;
    if file.metadata()?.len() != length {
        let text = format!("{} has another length than was written", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    // SAFETY: tether never writes into a file of an index, nor truncates one: files are written once, under a new name, and
    // deleted. A file that another program changes is noticed by the checks before and after each search (`folder.rs`); one
    // that another program truncates during a search ends the process, as ARCHITECTURE.md says.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Buffer::from(bytes::Bytes::from_owner(map)))
}
