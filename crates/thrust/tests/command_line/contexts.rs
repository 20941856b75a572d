//! `thrust context`: commands find their servers and keys without arguments.

use assert_cmd::assert::Assert;
use predicates::str::{contains, starts_with};

use super::Server;
use crate::process::{printed, thrust};

/// A user with a folder for settings of their own.
pub struct User {
    home: tempfile::TempDir,
}

impl User {
    pub fn new() -> User {
        User { home: tempfile::tempdir().unwrap() }
    }

    pub fn run_with(&self, args: &[&str], more: &[(&str, &str)]) -> Assert {
        thrust(args).env("XDG_CONFIG_HOME", self.home.path()).envs(more.iter().copied()).assert()
    }

    pub fn run(&self, args: &[&str]) -> Assert {
        self.run_with(args, &[])
    }

    pub fn prints(&self, args: &[&str]) -> String {
        printed(&self.run(args).success())
    }

    fn source(&self, args: &[&str], more: &[(&str, &str)]) -> (String, String) {
        let shown = self.run_with(&[&["context", "show", "--json"][..], args].concat(), more);
        let value: serde_json::Value = serde_json::from_str(&printed(&shown)).unwrap();
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        (text("source"), text("nameserver"))
    }
}

#[test]
fn the_chosen_context_says_where_commands_go() {
    let (server, user) = (Server::start(), User::new());
    assert_eq!(user.source(&[], &[]), ("default".into(), "127.0.0.1:9876".into()));
    let added = user.run(&["context", "add", "here", "-n", &server.names]);
    added.success().stdout(starts_with("added context here, which commands use from now on"));
    user.prints(&["context", "add", "nowhere", "-n", "127.0.0.1:1"]);
    user.prints(&["topic", "create", "orders"]);
    user.run(&["topic", "list"]).success().stdout(contains("orders"));
    user.run(&["mqadmin", "topicList"]).success().stdout(contains("orders"));

    user.run(&["topic", "list", "--context", "nowhere"]).code(4).stderr(contains("127.0.0.1:1"));
    user.prints(&["context", "use", "nowhere"]);
    user.run(&["topic", "list"]).code(4);
    // What is nearer to the command goes first.
    user.run(&["topic", "list", "-n", &server.names]).success();
    let environment = [("NAMESRV_ADDR", server.names.as_str())];
    user.run_with(&["topic", "list"], &environment).success();
    assert_eq!(user.source(&["nowhere"], &environment), ("context".into(), "127.0.0.1:1".into()));

    user.run(&["context", "use", "her"]).code(3).stderr(contains("(did you mean \"here\"?)"));
    user.prints(&["context", "remove", "nowhere"]);
    assert_eq!(user.source(&[], &[]).0, "default");
    let list = user.prints(&["context", "list"]);
    assert!(list.contains(&server.names) && !list.contains("nowhere"), "{list}");
    user.run(&["context", "add", "x", "-n", "no address"]).code(2).stderr(contains("is no address"));
}

#[test]
fn secrets_come_from_files_and_the_environment_and_are_never_shown() {
    let (server, user) = (Server::start(), User::new());
    let file = server.file("keys.yml", "accessKey: me\nsecretKey: deep\n");
    user.prints(&["context", "add", "filed", "-n", &server.names, "--access-key-file", &file]);
    let keys = [("THRUST_ACCESS_KEY", "you"), ("THRUST_SECRET_KEY", "deeper")];
    let from_env = ["context", "add", "taken", "-n", &server.names, "--access-key-from-env"];
    user.run(&from_env).code(2);
    user.run_with(&from_env, &keys).success();
    for args in
        [&["context", "list"][..], &["context", "list", "--json"], &["context", "show", "taken", "--json"]]
    {
        let shown = user.prints(args);
        assert!(shown.contains("you") && !shown.contains("deep"), "{shown}");
    }
    // Requests are signed, which a broker without users does not mind.
    user.prints(&["topic", "create", "orders"]);

    let half = user.run_with(&["topic", "list", "-n", &server.names], &keys[..1]);
    half.code(2).stderr(contains("without THRUST_SECRET_KEY"));
    let path = user.home.path().join("thrust/contexts.json");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    user.run(&["topic", "list"]).code(2).stderr(contains("chmod 600"));
}

#[test]
fn keys_are_not_lost_without_a_word() {
    let (server, user) = (Server::start(), User::new());
    let mine = server.file("mine.yml", "accessKey: me\nsecretKey: deep\n");
    let yours = server.file("yours.yml", "accessKey: you\nsecretKey: deeper\n");
    let add =
        |more: &[&str]| user.run(&[&["context", "add", "here", "-n", &server.names][..], more].concat());
    add(&["--access-key-file", &mine]).success();
    add(&["--access-key-file", &mine]).success();
    for more in [&[][..], &["--access-key-file", &yours]] {
        add(more).code(2).stderr(contains("loses its copy of the keys of me"));
        assert!(user.prints(&["context", "list"]).contains(" me "));
    }
    add(&["--access-key-file", &yours, "--yes"]).success().stdout(starts_with("changed context here"));
    assert!(user.prints(&["context", "list"]).contains(" you "));
}
