//! Which servers are asked, and what is said when that does not work.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use super::run;

#[test]
fn a_server_that_is_not_there_is_named_with_a_remedy() {
    let silent = run(&["topic", "list", "-n", "127.0.0.1:1"]);
    let told = contains("127.0.0.1:1").and(contains("`thrust serve`")).and(contains("\n").count(1));
    silent.code(4).stdout("").stderr(told);
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
