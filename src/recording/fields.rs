//! Fields of fixed width, one after the other, little endian.

/// The bytes end before the field does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short;

/// Writes fields one after the other into an array; what does not fit is a fault of the layout, seen by the golden test.
#[derive(Debug)]
pub struct Writer<const N: usize> {
    /// What is written so far, zeros after it.
    pub bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    /// Nothing but zeros.
    #[expect(clippy::new_without_default, reason = "zeros are no value of their own")]
    pub const fn new() -> Self {
        Self { bytes: [0; N], at: 0 }
    }

    /// Writes the next field.
    pub fn put(&mut self, field: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.at..self.at + field.len()) {
            place.copy_from_slice(field);
        }
        self.at += field.len();
    }
}

/// Reads fields one after the other.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// From the first of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `N` bytes.
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or(Short)?;
        self.rest = rest;
        Ok(*field)
    }

    /// The next `len` bytes.
    pub fn slice(&mut self, len: usize) -> Result<&'a [u8], Short> {
        let (field, rest) = self.rest.split_at_checked(len).ok_or(Short)?;
        self.rest = rest;
        Ok(field)
    }

    /// The next 16 bits.
    pub fn u16(&mut self) -> Result<u16, Short> {
        self.take().map(u16::from_le_bytes)
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> Result<u32, Short> {
        self.take().map(u32::from_le_bytes)
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> Result<u64, Short> {
        self.take().map(u64::from_le_bytes)
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
