//! A server is told to change a setting, and writes its file anew.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

#[test]
fn mode_owner_and_group_stay() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kept.conf");
    // The mode of one that an earlier run has left might not allow to write it.
    let _ = fs::remove_file(&path);
    for mode in [0o640, 0o600, 0o444] {
        fs::write(&path, "old").unwrap();
        // Only root may give it away; anybody else looks at the mode alone.
        let _ = chown(&path, Some(12_345), Some(54_321));
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let before = fs::metadata(&path).unwrap();
        settings::replace_file(&path, b"new").unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(after.mode() & 0o7777, mode);
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert_eq!(fs::read(&path).unwrap(), b"new");
        fs::remove_file(&path).unwrap();
    }
}
