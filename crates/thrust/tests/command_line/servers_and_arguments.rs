//! Which servers are asked, and what is said when that does not work.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};

use super::run;
use crate::process::Thrust;

#[test]
fn a_server_that_is_not_there_is_named_with_a_remedy() {
    let silent = run(&["topic", "list", "-n", "127.0.0.1:1"]);
    let told = contains("127.0.0.1:1").and(contains("`thrust serve`")).and(contains("\n").count(1));
    silent.code(4).stdout("").stderr(told);
}

#[test]
fn name_servers_without_brokers_are_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let lonely = Thrust::start(&["nameserver", "--port", "0", "--data", data]);
    let names = lonely.nameserver().to_string();
    for command in [&["topic", "list"][..], &["group", "list"], &["topic", "create", "orders"]] {
        let told = run(&[command, &["-n", &names]].concat()).code(4);
        told.stderr(contains(
            "no broker is registered with the name servers; start one with `thrust broker`",
        ));
    }
    run(&["cluster", "list", "-n", &names]).success().stdout(contains("no broker is registered"));
    run(&["doctor", "-n", &names]).code(2);
}

#[test]
fn arguments_that_make_no_sense_are_refused_before_anything_is_sent() {
    for (args, words) in [
        (&["topic", "create", "a b", "-n", "127.0.0.1:1"][..], "a b"),
        (&["topic", "create", "t", "--perm", "x"], "write r, w, rw or none"),
        (&["consume", "-t", "t", "-g", "g", "--from", "soon", "-n", "127.0.0.1:1"], "\"soon\" is no place"),
        (&["consume", "-t", "t", "-g", "g", "--filter", "a", "--sql", "b"], "cannot be used with"),
        (&["produce", "-t", "t", "--delay", "5"], "write it as 250ms, 5s, 10m, 2h or 3d"),
        (&["produce", "-t", "t", "-p", "amount", "x"], "write NAME=VALUE"),
        (&["produce", "-t", "or ders", "x", "-n", "127.0.0.1:1"], "contains illegal characters"),
        (&["produce", "-t", "t", "--count", "0", "x"], "0 is not in 1.."),
    ] {
        run(args).code(2).stderr(contains(words));
    }
}

#[test]
fn the_page_of_help_has_the_commands_in_groups() {
    let groups =
        ["Run servers:\n  serve ", "Administer:\n  topic ", "Find out why:\n  explain ", "Options:\n"];
    for line in [&["--help"][..], &["-h"], &["help"]] {
        let mut page = run(line).success();
        for group in groups {
            page = page.stdout(contains(group));
        }
        page = page.stdout(contains("Exit codes: 0 done, 1 failed, "));
        // Without a terminal there is nothing that only a terminal understands.
        page.stdout(contains("\x1b").not());
    }
    run(&["tpoic"]).code(2).stderr(contains("'topic'"));
}

#[test]
fn shells_complete_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        run(&["completions", shell]).success().stdout(contains("unique-key").and(contains("consume")));
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("of-somebody-else.1"), "").unwrap();
    let written = run(&["man", "--dir", dir.path().to_str().unwrap()]).success();
    let pages = std::fs::read_dir(dir.path()).unwrap().count() - 1;
    assert!(pages > 50, "{pages}");
    written.stdout(starts_with(format!("{pages} pages in ")));
    for page in ["thrust.1", "thrust-topic-list.1", "thrust-broker-config-get.1"] {
        let text = std::fs::read_to_string(dir.path().join(page)).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    run(&["man"]).success().stdout(contains("Exit codes: 0 done"));
}
