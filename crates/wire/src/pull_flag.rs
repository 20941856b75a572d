//! Bits of a pull's sysFlag, Java's `PullSysFlag` (wire.md §11.4).

/// It brings an offset to commit.
pub const COMMIT_OFFSET: i32 = 1;
/// It may wait at the broker for messages.
pub const SUSPEND: i32 = 2;
/// It brings its subscription along, so that the broker needs no heartbeat of the group.
pub const SUBSCRIPTION: i32 = 4;
/// Its filter is a Java class.
pub const CLASS_FILTER: i32 = 8;
