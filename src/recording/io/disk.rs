//! The disk below the spool: its lock, its room, what files reserve of it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, fstatvfs};

use crate::recording::Obligation;

/// When the disk is too full.
#[derive(Debug, Clone, Copy)]
pub struct Watermarks {
    /// Best-effort recordings are refused from this percentage of used space.
    pub shed_percent: u8,
    /// Required ones too.
    pub refuse_percent: u8,
}

impl Default for Watermarks {
    fn default() -> Self {
        Self { shed_percent: 85, refuse_percent: 95 }
    }
}

impl Watermarks {
    /// Whether a recording may begin on the disk of `directory`.
    pub fn check_room(self, directory: &File, obligation: Obligation) -> io::Result<()> {
        let disk = fstatvfs(directory)?;
        let used = 100 - disk.f_bavail.saturating_mul(100) / disk.f_blocks.max(1);
        let limit = match obligation {
            Obligation::Required => self.refuse_percent,
            Obligation::BestEffort | Obligation::Never => self.shed_percent,
        };
        if used >= u64::from(limit) {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{used} % of the disk are used, the limit is {limit} %"),
            ));
        }
        Ok(())
    }
}

/// Locks a spool directory, which is made where it is absent. One process at a time may have it.
pub fn lock(directory: &Path) -> io::Result<File> {
    fs::create_dir_all(directory)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(directory.join("lock"))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Reserves room without making the file longer; a file system that cannot is taken as it is.
pub fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
