//! The disk below the spool: its lock, its room, what files reserve of it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, fstatvfs};

use crate::recording::Obligation;

/// When the disk is too full. A percentage is of the space that an ordinary user may fill, as `df` shows it: what the
/// file system keeps back for root counts neither as used nor as free.
#[derive(Debug, Clone, Copy)]
pub struct Watermarks {
    /// Best-effort recordings are refused from this percentage of used space; 0 refuses all, above 100 none.
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
        let used = used_percent(disk.f_blocks, disk.f_bfree, disk.f_bavail);
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

/// How full a disk is, 0 to 100, rounded up as `df` does: of `blocks`, `free` are free, `available` of them to us.
fn used_percent(blocks: u64, free: u64, available: u64) -> u64 {
    let used = blocks.saturating_sub(free);
    used.saturating_mul(100).div_ceil(used.saturating_add(available).max(1))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_root_keeps_back_count_neither_as_used_nor_as_free() {
        assert_eq!(used_percent(250, 200, 50), 50);
    }

    #[test]
    fn an_empty_disk_is_at_0_and_a_full_one_at_100_percent() {
        assert_eq!((used_percent(100, 100, 100), used_percent(100, 5, 0), used_percent(0, 0, 0)), (0, 100, 0));
    }
}
