//! A ZIP archive of stored (uncompressed) files: sealed recordings do not compress.

use std::io::{self, Write};

/// Writes an archive, file by file. Files and the whole stay under 4 GiB.
#[derive(Debug)]
pub struct ZipWriter<W> {
    to: W,
    offset: u32,
    directory: Vec<u8>,
    files: u16,
}

impl<W: Write> ZipWriter<W> {
    /// An archive that goes to `to`.
    pub const fn new(to: W) -> Self {
        Self { to, offset: 0, directory: Vec::new(), files: 0 }
    }

    /// Adds a file.
    pub fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, "the archive would exceed 4 GiB");
        let size = u32::try_from(content.len()).map_err(|_error| too_large())?;
        let name_bytes = u16::try_from(name.len()).map_err(io::Error::other)?;
        let mut fields = Vec::with_capacity(26);
        // Version needed 2.0; flags: names are UTF-8; method: stored; time and date: 1980-01-01.
        for field in [20_u16, 0x0800, 0, 0, 0x21] {
            fields.extend_from_slice(&field.to_le_bytes());
        }
        fields.extend_from_slice(&crc32(content).to_le_bytes());
        fields.extend_from_slice(&size.to_le_bytes());
        fields.extend_from_slice(&size.to_le_bytes());
        fields.extend_from_slice(&name_bytes.to_le_bytes());
        fields.extend_from_slice(&0_u16.to_le_bytes());

        self.directory.extend_from_slice(b"PK\x01\x02\x14\x03");
        self.directory.extend_from_slice(&fields);
        // No comment, disk 0, no internal attributes; external: a regular file, rw-r--r--.
        self.directory.extend_from_slice(&[0; 6]);
        self.directory.extend_from_slice(&(0o100_644_u32 << 16).to_le_bytes());
        self.directory.extend_from_slice(&self.offset.to_le_bytes());
        self.directory.extend_from_slice(name.as_bytes());

        self.to.write_all(b"PK\x03\x04")?;
        self.to.write_all(&fields)?;
        self.to.write_all(name.as_bytes())?;
        self.to.write_all(content)?;
        let written = 30 + u64::from(name_bytes) + u64::from(size);
        self.offset = u32::try_from(u64::from(self.offset) + written).map_err(|_error| too_large())?;
        self.files += 1;
        Ok(())
    }

    /// Writes the directory, and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        let directory_bytes = u32::try_from(self.directory.len()).map_err(io::Error::other)?;
        self.to.write_all(&self.directory)?;
        self.to.write_all(b"PK\x05\x06\0\0\0\0")?;
        self.to.write_all(&self.files.to_le_bytes())?;
        self.to.write_all(&self.files.to_le_bytes())?;
        self.to.write_all(&directory_bytes.to_le_bytes())?;
        self.to.write_all(&self.offset.to_le_bytes())?;
        self.to.write_all(&[0; 2])?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// The CRC-32 of ZIP (polynomial 0xEDB88320), four bits at a time.
fn crc32(bytes: &[u8]) -> u32 {
    let table: [u32; 16] = std::array::from_fn(|nibble| {
        (0..4).fold(
            u32::try_from(nibble).unwrap_or(0),
            |crc, _bit| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    });
    let step = |crc: u32, nibble: u32| crc >> 4 ^ table.get(((crc ^ nibble) & 0xf) as usize).copied().unwrap_or(0);
    !bytes.iter().fold(!0, |crc, byte| step(step(crc, u32::from(byte & 0xf)), u32::from(byte >> 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_zip() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
