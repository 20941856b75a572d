//! `thrust store` on the files of a real broker: what it shows, what it finds, what it repairs, and what it refuses.

mod process;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use predicates::str::contains;
use process::{Socket, Thrust, ending, piped, printed, said, thrust};
use serde_json::Value;

/// Small files, so that tests are quick.
const SIZES: [&str; 6] =
    ["--set", "mappedFileSizeCommitLog=65536", "--set", "maxHashSlotNum=100", "--set", "maxIndexNum=1000"];
const PROGRAM: &str = env!("CARGO_BIN_EXE_thrust");
const LOG: &str = "commitlog/00000000000000000000";

/// A store that a broker has written twelve messages to and left.
fn written() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Thrust::serve(&data(&dir), &SIZES);
    let mut socket = Socket::connect(broker.broker());
    for i in 0..12 {
        let properties = format!("KEYS\u{1}key{i}\u{2}TAGS\u{1}blue\u{2}");
        assert_eq!(socket.send("orders", "1", &format!("body {i}"), &properties).code, 0);
    }
    broker.stop();
    dir
}

/// Below the temporary directory, so that what a repair puts beside it goes with it.
fn data(dir: &tempfile::TempDir) -> std::path::PathBuf {
    dir.path().join("data")
}

fn store(command: &str, data: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let args = [&["store", command, data.to_str().unwrap()][..], &SIZES, more].concat();
    let done = thrust(&args).assert();
    (done.get_output().status.code(), printed(&done), said(&done))
}

/// Runs a command that prints JSON.
fn json(command: &str, data: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let (code, out, err) = store(command, data, &[more, &["--json"]].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}\n{err}")))
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Where the body of a message stands in the log.
fn place_of(data: &Path, body: &str) -> usize {
    let log = fs::read(data.join(LOG)).unwrap();
    log.windows(body.len()).position(|window| window == body.as_bytes()).unwrap()
}

#[test]
fn a_sound_store_is_shown_and_found_sound() {
    let dir = written();
    let data = data(&dir);
    let (code, out, err) = store("inspect", &data, &[]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for words in
        ["stopped cleanly", "00000000000000000000", "orders", "physicMsgTimestamp", "topics.json", "sound"]
    {
        assert!(out.contains(words), "{words} is not in\n{out}");
    }
    let (code, out, err) = store("verify", &data, &[]);
    // No terminal, no bar.
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("12 records") && out.contains("nothing is wrong"), "{out}");
    let (code, out) = json("verify", &data, &[]);
    assert_eq!((code, &out["sound"], &out["records"]), (Some(0), &true.into(), &12.into()), "{out}");
    let (code, out) = json("inspect", &data, &[]);
    assert_eq!((code, &out["queues"][0]["topic"]), (Some(0), &"orders".into()), "{out}");
    let (code, out, _) = store("repair", &data, &[]);
    assert!(code == Some(0) && out.contains("nothing to repair"), "{out}");
}

#[test]
fn sizes_come_from_the_files_or_from_a_broker_conf() {
    let dir = written();
    let data = data(&dir);
    let conf = dir.path().join("broker.conf");
    let path = data.to_str().unwrap();
    fs::write(
        &conf,
        format!(
            "storePathRootDir={path}\nmappedFileSizeCommitLog=65536\nmaxHashSlotNum=100\nmaxIndexNum=1000\n"
        ),
    )
    .unwrap();
    thrust(&["store", "verify", "-c", conf.to_str().unwrap()]).assert().success();
    // Without any word on sizes those of the index stay unknown, and only those.
    let verified = thrust(&["store", "verify", path]).assert().code(1);
    verified.stdout(contains("give the right maxHashSlotNum")).stdout(contains("1 findings"));
}

#[test]
fn a_record_and_the_entries_of_a_queue_are_shown() {
    let dir = written();
    let data = data(&dir);
    let (code, out, _) = store("inspect", &data, &["--offset", "0"]);
    assert_eq!(code, Some(0), "{out}");
    for words in ["body 0", "KEYS = key0", "TAGS = blue", "agrees", "orders", "offsetMsgId"] {
        assert!(out.contains(words), "{words} is not in\n{out}");
    }
    let (code, out, _) = store("inspect", &data, &["--offset", "1"]);
    assert!(code == Some(1) && out.contains("begins no record"), "{out}");
    let (code, out) =
        json("inspect", &data, &["--topic", "orders", "--queue", "1", "--from", "4", "--count", "3"]);
    let keys: Vec<_> = out.as_array().unwrap().iter().map(|entry| entry["keys"].as_str().unwrap()).collect();
    assert_eq!((code, keys), (Some(0), vec!["key4", "key5", "key6"]));
}

#[test]
fn a_damaged_message_is_found_and_given_up_when_that_is_said() {
    let dir = written();
    let data = data(&dir);
    flip(&data.join(LOG), place_of(&data, "body 5"));
    let (code, out, _) = store("verify", &data, &[]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains(LOG) && out.contains("body CRC is") && out.contains("repair"), "{out}");

    let log = fs::read(data.join(LOG)).unwrap();
    let (code, _, err) = store("repair", &data, &["--yes"]);
    assert!(code == Some(2) && err.contains("--log skip") && err.contains("nothing was changed"), "{err}");
    let (code, out, _) = store("repair", &data, &["--log", "skip"]);
    assert!(code == Some(1) && out.contains("--yes does it"), "{out}");
    assert_eq!(fs::read(data.join(LOG)).unwrap(), log);

    let (code, out) = json("repair", &data, &["--log", "skip", "--yes"]);
    assert_eq!((code, &out["done"]), (Some(0), &true.into()), "{out}");
    let kept = Path::new(out["kept"].as_str().unwrap());
    assert!(kept.join("README.txt").exists() && kept.parent() == Some(dir.path()));
    assert_eq!(store("verify", &data, &[]).0, Some(0));

    let mut broker = Thrust::serve(&data, &SIZES);
    let mut socket = Socket::connect(broker.broker());
    let bodies: Vec<_> = socket.read_all("orders", 1).into_iter().map(|got| got.body).collect();
    let expected: Vec<_> = (0..12).filter(|i| *i != 5).map(|i| format!("body {i}")).collect();
    assert_eq!(bodies, expected);
    broker.stop();
}

#[test]
fn what_a_repair_takes_out_is_beside_the_store_and_goes_back_however_the_store_was_named() {
    let dir = written();
    let data = data(&dir);
    flip(&data.join(LOG), place_of(&data, "body 5"));
    let damaged = fs::read(data.join(LOG)).unwrap();

    let mut repair = Command::new(PROGRAM);
    repair.args(["store", "repair", ".", "--log", "skip", "--yes", "--json"]).args(SIZES).current_dir(&data);
    let done = ending(piped(repair)).assert().success();
    let out: Value = serde_json::from_str(&printed(&done)).unwrap();
    let kept = Path::new(out["kept"].as_str().unwrap());
    assert_eq!(kept.parent().unwrap().canonicalize().unwrap(), dir.path().canonicalize().unwrap(), "{out}");
    assert_ne!(fs::read(data.join(LOG)).unwrap(), damaged);

    let text = fs::read_to_string(kept.join("README.txt")).unwrap();
    let commands: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    let put_back = Command::new("sh").arg("-ec").arg(commands.join("\n")).current_dir(kept).output().unwrap();
    assert!(put_back.status.success(), "{text}{}", String::from_utf8_lossy(&put_back.stderr));
    assert_eq!(fs::read(data.join(LOG)).unwrap(), damaged);
}

#[test]
fn lost_queues_and_index_come_back() {
    let dir = written();
    let data = data(&dir);
    fs::remove_dir_all(data.join("consumequeue/orders/1")).unwrap();
    for index in fs::read_dir(data.join("index")).unwrap() {
        flip(&index.unwrap().path(), 40 + 400 + 20 + 5);
    }
    let (code, out) = json("verify", &data, &[]);
    assert_eq!(code, Some(1));
    assert!(out["counts"]["queue"].as_u64() > Some(0) && out["counts"]["index"].as_u64() > Some(0), "{out}");
    let (code, out, _) = store("repair", &data, &["--yes"]);
    assert!(code == Some(0) && out.contains("12 entries now"), "{out}");
    let (code, out) = json("verify", &data, &[]);
    assert_eq!((code, &out["queueEntries"]), (Some(0), &12.into()), "{out}");
}

#[test]
fn what_is_no_store_or_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Thrust::serve(&data(&dir), &SIZES);
    for command in ["inspect", "verify", "repair"] {
        let (code, out, err) = store(command, &data(&dir), &[]);
        assert_eq!((code, out.as_str()), (Some(2), ""));
        assert!(err.contains("in use by another broker") && err.contains("stop that one"), "{err}");
        let (code, _, err) = store(command, &dir.path().join("nowhere"), &[]);
        assert!(code == Some(2) && err.contains("is no store"), "{err}");
        thrust(&["store", command]).assert().code(2).stderr(contains("give its directory"));
    }
    broker.stop();
}

/// Takes the right to write from everything below `path`, or gives it back.
fn set_writable(path: &Path, writable: bool) {
    let is_dir = path.is_dir();
    let mode = 0o444 | if is_dir { 0o111 } else { 0 } | if writable { 0o200 } else { 0 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    if is_dir {
        fs::read_dir(path).unwrap().for_each(|entry| set_writable(&entry.unwrap().path(), writable));
    }
}

/// A copy of the program in a directory where everybody can run it.
fn program_for_all(dir: &Path) -> PathBuf {
    let program = dir.join("thrust");
    if !program.exists() {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        // Not by this process: whatever another test starts meanwhile would have the copy open for writing, and a
        // program that is open for writing cannot be run.
        assert!(Command::new("cp").arg(PROGRAM).arg(&program).status().unwrap().success());
    }
    program
}

/// Runs a command as somebody who may read `data` and not write it: whoever may write everything becomes nobody.
fn look_without_rights(command: &str, data: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    const NOBODY: u32 = 65_534;
    let mut looking = if rustix::process::geteuid().is_root() {
        let mut looking = Command::new(program_for_all(data.parent().unwrap()));
        looking.uid(NOBODY).gid(NOBODY).current_dir("/");
        looking
    } else {
        Command::new(PROGRAM)
    };
    looking.args(["store", command, data.to_str().unwrap()]).args(SIZES).args(more);
    let done = ending(piped(looking)).assert();
    (done.get_output().status.code(), printed(&done), said(&done))
}

/// Gives the right to write back when it goes, so that a directory for the time of a test can be removed.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn below(path: &Path) -> ReadOnly {
        set_writable(path, false);
        ReadOnly(path.to_owned())
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        set_writable(&self.0, true);
    }
}

#[test]
fn files_that_may_only_be_read_are_looked_at() {
    let dir = written();
    let data = data(&dir);
    for has_lock in [true, false] {
        if !has_lock {
            fs::remove_file(data.join("lock")).unwrap();
        }
        let _rights = ReadOnly::below(&data);
        for command in ["inspect", "verify"] {
            let (code, out, err) = look_without_rights(command, &data, &[]);
            assert_eq!(code, Some(0), "{command}, lock {has_lock}: {out}{err}");
            let unlocked = err.contains("cannot be locked; nobody must write to the store meanwhile");
            // A file that can be read can be locked against those who write.
            assert!(unlocked != has_lock && err.lines().count() == usize::from(!has_lock), "{err}");
        }
        let (code, out, _) = look_without_rights("verify", &data, &["--json"]);
        assert_eq!(code, Some(0), "{out}");
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["records"], 12);
        assert_eq!(data.join("lock").exists(), has_lock);
        assert_eq!(look_without_rights("repair", &data, &[]).0, Some(2));
    }
}

#[test]
fn a_broker_is_noticed_by_who_may_only_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Thrust::serve(&data(&dir), &SIZES);
    set_writable(&data(&dir).join("lock"), false);
    let (code, out, err) = look_without_rights("inspect", &data(&dir), &[]);
    assert!(code == Some(2) && err.contains("in use by another broker"), "{out}{err}");
    broker.stop();
}
