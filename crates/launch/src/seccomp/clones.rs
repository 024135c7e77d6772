//! No task makes files that share their space with others (reflinks), snapshots, or subvolumes, which seem to be another disk (MA7):
//! what it holds of a disk is the sum of what its files there say, each of which counts what it shares as its own. Who holds seemingly much makes a disk that others have filled
//! look explained, and then whoever really holds most is ended for it (MA2); an hour of it is remembered for a week (MA3).
//!
//! Answered as by a file system that can't (ext4): programs copy then.
//!
//! Nor does it change the flags of its files (chattr): some make a file say that it holds what it doesn't (compression), others
//! have the whole disk's writing wait while the file is put into another form (extents, MD4).

use nix::libc;
use seccompiler::{BackendError, SeccompCmpOp, SeccompRule};

use super::{Rules, argument};

/// FICLONE, FICLONERANGE, FIDEDUPERANGE; BTRFS_IOC_SNAP_CREATE and BTRFS_IOC_SUBVOL_CREATE, and their second versions; bcachefs's
/// request for either.
const REQUESTS: [u32; 8] =
    [0x4004_9409, 0x4020_940d, 0xc018_9436, 0x5000_9401, 0x5000_9417, 0x5000_940e, 0x5000_9418, 0x4020_bc10];

/// FS_IOC_SETFLAGS and EXT4_IOC_MIGRATE.
const FLAGS: [u32; 2] = [0x4008_6602, 0x6609];

/// What is refused with EOPNOTSUPP.
pub(super) fn forbidden() -> Result<Rules, BackendError> {
    let request = |request| SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, request)?]);
    Ok([(libc::SYS_ioctl, REQUESTS.into_iter().chain(FLAGS).map(request).collect::<Result<_, _>>()?)].into())
}
