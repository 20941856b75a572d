//! `thrust context`: commands find their servers and keys without arguments.

use super::{Done, Server};
use crate::process::run_to_end_with;

/// A user with a folder for settings of their own.
struct User {
    home: tempfile::TempDir,
}

impl User {
    fn new() -> User {
        User { home: tempfile::tempdir().unwrap() }
    }

    fn run_with(&self, args: &[&str], more: &[(&str, &str)]) -> Done {
        let folder = self.home.path().to_str().unwrap();
        let variables = [&[("XDG_CONFIG_HOME", folder)][..], more].concat();
        let (code, out, err) = run_to_end_with(args, &variables);
        Done { code, out, err: err.join("\n") }
    }

    fn run(&self, args: &[&str]) -> Done {
        self.run_with(args, &[])
    }

    fn prints(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, Some(0), "{done:?}");
        done.out
    }

    fn source(&self, args: &[&str], more: &[(&str, &str)]) -> (String, String) {
        let shown = self.run_with(&[&["context", "show", "--json"][..], args].concat(), more);
        let value: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        (text("source"), text("nameserver"))
    }
}

#[test]
fn the_chosen_context_says_where_commands_go() {
    let (server, user) = (Server::start(), User::new());
    assert_eq!(user.source(&[], &[]), ("default".into(), "127.0.0.1:9876".into()));
    let added = user.prints(&["context", "add", "here", "-n", &server.names]);
    assert!(added.starts_with("added context here, which commands use from now on"), "{added}");
    user.prints(&["context", "add", "nowhere", "-n", "127.0.0.1:1"]);
    user.prints(&["topic", "create", "orders"]);
    assert!(user.prints(&["topic", "list"]).contains("orders"));

    let elsewhere = user.run(&["topic", "list", "--context", "nowhere"]);
    assert!(elsewhere.code == Some(4) && elsewhere.err.contains("127.0.0.1:1"), "{elsewhere:?}");
    user.prints(&["context", "use", "nowhere"]);
    assert_eq!(user.run(&["topic", "list"]).code, Some(4));
    // What is nearer to the command goes first.
    assert_eq!(user.run(&["topic", "list", "-n", &server.names]).code, Some(0));
    let environment = [("NAMESRV_ADDR", server.names.as_str())];
    assert_eq!(user.run_with(&["topic", "list"], &environment).code, Some(0));
    assert_eq!(user.source(&["nowhere"], &environment), ("context".into(), "127.0.0.1:1".into()));

    let wrong = user.run(&["context", "use", "her"]);
    assert!(wrong.code == Some(3) && wrong.err.contains("(did you mean \"here\"?)"), "{wrong:?}");
    user.prints(&["context", "remove", "nowhere"]);
    assert_eq!(user.source(&[], &[]).0, "default");
    let list = user.prints(&["context", "list"]);
    assert!(list.contains(&server.names) && !list.contains("nowhere"), "{list}");
    let refused = user.run(&["context", "add", "x", "-n", "no address"]);
    assert!(refused.code == Some(2) && refused.err.contains("is no address"), "{refused:?}");
}

#[test]
fn secrets_come_from_files_and_the_environment_and_are_never_shown() {
    let (server, user) = (Server::start(), User::new());
    let file = server.file("keys.yml", "accessKey: me\nsecretKey: deep\n");
    user.prints(&["context", "add", "filed", "-n", &server.names, "--access-key-file", &file]);
    let keys = [("THRUST_ACCESS_KEY", "you"), ("THRUST_SECRET_KEY", "deeper")];
    let from_env = ["context", "add", "taken", "-n", &server.names, "--access-key-from-env"];
    assert_eq!(user.run(&from_env).code, Some(2));
    assert_eq!(user.run_with(&from_env, &keys).code, Some(0));
    for args in
        [&["context", "list"][..], &["context", "list", "--json"], &["context", "show", "taken", "--json"]]
    {
        let shown = user.prints(args);
        assert!(shown.contains("you") && !shown.contains("deep"), "{shown}");
    }
    // Requests are signed, which a broker without users does not mind.
    user.prints(&["topic", "create", "orders"]);

    let half = user.run_with(&["topic", "list", "-n", &server.names], &keys[..1]);
    assert!(half.code == Some(2) && half.err.contains("without THRUST_SECRET_KEY"), "{half:?}");
    let path = user.home.path().join("thrust/contexts.json");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let open = user.run(&["topic", "list"]);
    assert!(open.code == Some(2) && open.err.contains("chmod 600"), "{open:?}");
}
