//! The list of an index's files, replaced as a whole by each commit.

use prost::Message;

use crate::Error;
use crate::folder::{Folder, HASH};

/// The form of the files: an index of another form is built anew.
const FORM: u32 = 1;
/// The name of the file.
pub(crate) const NAME: &str = "manifest";

/// A file, with the BLAKE3 hash of its content.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FileEntry {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint64, tag = "2")]
    pub length: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub hash: Vec<u8>,
}

/// A block.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BlockEntry {
    #[prost(uint32, tag = "1")]
    pub slot: u32,
    #[prost(string, tag = "2")]
    pub object: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(message, repeated, tag = "4")]
    pub files: Vec<FileEntry>,
    #[prost(uint32, tag = "5")]
    pub rows: u32,
    /// The rows that a later change replaced or removed: a serialized Roaring bitmap.
    #[prost(bytes = "vec", tag = "6")]
    pub dead: Vec<u8>,
}

/// Keys with the numbers from `first` on: a file of 16 bytes each, little-endian.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyEntry {
    #[prost(uint32, tag = "1")]
    pub first: u32,
    #[prost(uint32, tag = "2")]
    pub count: u32,
    #[prost(message, optional, tag = "3")]
    pub file: Option<FileEntry>,
}

/// The state of an index after a commit.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Manifest {
    #[prost(uint32, tag = "1")]
    pub form: u32,
    /// The name of the index.
    #[prost(string, tag = "2")]
    pub index: String,
    /// What the owner of the index wants to know again.
    #[prost(string, tag = "3")]
    pub memory: String,
    /// The number of the next file.
    #[prost(uint64, tag = "4")]
    pub next_file: u64,
    #[prost(message, repeated, tag = "5")]
    pub blocks: Vec<BlockEntry>,
    /// The keys of records.
    #[prost(message, repeated, tag = "6")]
    pub records: Vec<KeyEntry>,
    /// The ids of companies.
    #[prost(message, repeated, tag = "7")]
    pub companies: Vec<KeyEntry>,
}

impl Manifest {
    pub(crate) fn new(index: &str) -> Self {
        Self {
            form: FORM,
            index: index.to_owned(),
            ..Self::default()
        }
    }

    /// Reads the manifest of a folder; `None` if there is none, or it is of another form.
    ///
    /// # Errors
    /// It is damaged or of another index, or the operating system failed.
    pub(crate) fn read(folder: &Folder) -> Result<Option<Self>, Error> {
        let bytes = match folder.read(NAME) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some((content, hash)) = bytes.split_last_chunk::<HASH>() else {
            return Err(Error::damaged(NAME, "is too short"));
        };
        if blake3::hash(content).as_bytes() != hash {
            return Err(Error::damaged(NAME, "does not match its hash"));
        }
        let manifest = Self::decode(content).map_err(|error| Error::damaged(NAME, error))?;
        if manifest.form != FORM {
            return Ok(None);
        }
        if manifest.index != folder.name() {
            return Err(Error::damaged(NAME, "is of another index"));
        }
        folder.expect(NAME, *blake3::hash(&bytes).as_bytes());
        for file in manifest.files() {
            let hash = <[u8; HASH]>::try_from(file.hash.as_slice());
            folder.expect(&file.name, hash.map_err(|_| Error::damaged(NAME, "has no hash"))?);
        }
        Ok(Some(manifest))
    }

    /// Replaces the manifest of a folder, durably.
    pub(crate) fn write(&self, folder: &Folder) -> Result<(), Error> {
        let mut bytes = self.encode_to_vec();
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        Ok(folder.write(NAME, &bytes)?)
    }

    /// All files but the manifest itself.
    pub(crate) fn files(&self) -> impl Iterator<Item = &FileEntry> {
        let keys = self.records.iter().chain(&self.companies);
        let blocks = self.blocks.iter().flat_map(|block| &block.files);
        blocks.chain(keys.filter_map(|keys| keys.file.as_ref()))
    }
}
