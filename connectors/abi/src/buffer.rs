//! Bytes that cross the boundary.

/// Borrowed bytes: valid until the function that receives them returns. A null pointer or a length of 0 means no
/// bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Slice {
    /// The first byte.
    pub(crate) data: *const u8,
    /// The number of bytes.
    pub(crate) len: usize,
}

impl Slice {
    /// Lends bytes.
    #[must_use]
    pub const fn new(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr(),
            len: bytes.len(),
        }
    }

    /// The bytes.
    ///
    /// # Safety
    ///
    /// The slice was created from bytes that are valid and unchanged for `'a`; or it is null or empty.
    #[must_use]
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.data.is_null() || self.len == 0 {
            return &[];
        }
        // SAFETY: the caller guarantees that the memory is valid.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// Owned bytes. Passing a buffer passes its ownership. The owner frees it once, on any thread, with the function in
/// it, which the side that created the buffer has set. A buffer without a function needs no freeing.
#[repr(C)]
pub struct Buffer {
    /// The first byte.
    pub(crate) data: *mut u8,
    /// The number of bytes.
    pub(crate) len: usize,
    /// Data for free, set by the creator of the buffer: a number, or a pointer as a number.
    pub(crate) owner: usize,
    /// Frees the buffer. The arguments are its other members.
    pub(crate) free: Option<unsafe extern "C" fn(data: *mut u8, len: usize, owner: usize)>,
}

// SAFETY: the ABI permits reads of a buffer by several threads at once, and its release by any thread.
unsafe impl Send for Buffer {}
// SAFETY: as above; there is no way to change the bytes.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Nothing.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            data: std::ptr::null_mut(),
            len: 0,
            owner: 0,
            free: None,
        }
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        Self {
            data: bytes.as_mut_ptr(),
            len: bytes.len(),
            owner: bytes.capacity(),
            free: Some(free_vec),
        }
    }
}

/// Frees a buffer that `From<Vec<u8>>` created.
unsafe extern "C" fn free_vec(data: *mut u8, len: usize, owner: usize) {
    // SAFETY: these are the parts of a `Vec<u8>` of this library, and it is freed once.
    drop(unsafe { Vec::from_raw_parts(data, len, owner) });
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the memory is this buffer's until it is freed, and it is freed when it is dropped.
        unsafe {
            Slice {
                data: self.data,
                len: self.len,
            }
            .bytes()
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(free) = self.free.take() {
            // SAFETY: the maker of the buffer set this function to free it; taking the function ensures a single
            // call.
            unsafe { free(self.data, self.len, self.owner) }
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The content may be secret.
        write!(f, "Buffer({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_keep_their_bytes_until_dropped() {
        let mut bytes = Vec::with_capacity(100);
        bytes.extend_from_slice(b"abc");
        let buffer = Buffer::from(bytes);
        assert_eq!(
            std::thread::spawn(move || buffer.as_ref().to_vec())
                .join()
                .unwrap(),
            b"abc"
        );
        assert!(Buffer::empty().as_ref().is_empty());
    }
}
