//! Bits of a message's sysFlag (wire.md §13.5).

use std::net::SocketAddr;

/// The body is compressed.
pub const COMPRESSED: i32 = 0x1;
/// The topic filters by several tags.
pub const MULTI_TAGS: i32 = 0x2;
/// Mask of the two transaction bits.
pub const TRANSACTION_MASK: i32 = 0xC;
/// A half message, before it is moved to the half topic.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// The committed copy of a half message.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// A rolled-back half message.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The born host is an IPv6 address.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host is an IPv6 address.
pub const STORE_HOST_V6: i32 = 0x20;
/// The body is an inner batch that clients unwrap.
pub const NEED_UNWRAP: i32 = 0x40;
/// The record is an inner batch.
pub const INNER_BATCH: i32 = 0x80;
/// Mask of the compression type: 0 and 0x300 zlib, 0x100 LZ4, 0x200 Zstandard.
pub const COMPRESSION_MASK: i32 = 0x700;

/// `sys_flag` with the two host bits set from the addresses.
pub fn with_hosts(sys_flag: i32, born: &SocketAddr, store: &SocketAddr) -> i32 {
    let mut flag = sys_flag & !(BORN_HOST_V6 | STORE_HOST_V6);
    if born.is_ipv6() {
        flag |= BORN_HOST_V6;
    }
    if store.is_ipv6() {
        flag |= STORE_HOST_V6;
    }
    flag
}

/// Whether a record of this flag gets a place in its consume queue: plain and committed messages do.
pub fn is_queued(sys_flag: i32) -> bool {
    matches!(sys_flag & TRANSACTION_MASK, 0 | TRANSACTION_COMMIT)
}
