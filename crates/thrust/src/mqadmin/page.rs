//! `docs/mqadmin.md`, written from the table of commands so that it cannot lag behind it.

use super::command::Command;
use super::refused::REFUSED;

const OPENING: &str = "\
# mqadmin, mqnamesrv, mqbroker

<!-- Written by `cargo run -p thrust -- mqadmin page > docs/mqadmin.md`; a test compares. -->

`thrust mqadmin NAME …` takes the lines of the official tool 5.5.0 as they are: names in any case, its flags in all
spellings (`-t x`, `-tx`, `--topic x`, `--topic=x`, `--top x`), and prints its columns. A link to the binary that is
named `mqadmin` does the same, one named `mqnamesrv` or `mqbroker` runs a name server or a broker:

    ln -s thrust mqadmin; ln -s thrust mqnamesrv; ln -s thrust mqbroker
    mqnamesrv & mqbroker -n localhost:9876 -c conf/broker.conf &
    export NAMESRV_ADDR=localhost:9876
    mqadmin updateTopic -c DefaultCluster -t orders

`NAMESRV_ADDR` names the name servers where `-n` does not; without both it is the chosen context of
[`thrust context`](commands.md), or else 127.0.0.1:9876. Requests are signed with the keys of
`$ROCKETMQ_HOME/conf/tools.yml` if that file is there, or else with those of other commands, and encrypted as theirs
are, in place of Java's `-Dtls.enable=true`. It works with Java servers too, and asks no questions.

## What is the same, and what is not

Standard output is that of the official tool; `interop/run habit` runs both with the same lines and compares. These
differ for all commands:

- A command that fails says why in one line on standard error, with the code and the words of the broker
  (`CODE: 17  DESC: …`) and no stack trace, and its exit code is not 0:

| exit code | meaning | official tool |
|---|---|---|
| 0 | done | 0 |
| 1 | the line makes no sense; the usage is printed where a flag is wrong | 1, or 0 for a wrong value |
| 2 | some servers have done it and some have not, or a list lacks what one did not tell | 0 |
| 3 | failed, or not offered | 0 |
| 4 | what was named is not there | 0 |

- Where the official tool prints in the order of a hash table, such as properties of a message, it is sorted here.
- `-h` prints the usage whether or not the required flags are there.
- No log file is written.

`mqnamesrv` and `mqbroker` take `-c FILE`, `-n ADDRS`, `-p` (print all settings), `-h`, and settings as `key=value`
behind them, which Java's take and forget; `mqbroker` takes `-m` (print those that were given) too. They listen on all
interfaces and keep their data where Java's do (`~/namesrv`, `~/store`) unless the file says otherwise, and print
`… boot success …` when they are ready. `--enable-proxy` is refused: there is no proxy.
";

/// The text of the page, from all commands with their families.
pub fn text(commands: impl Iterator<Item = (&'static str, &'static Command)>) -> String {
    let mut text = OPENING.to_owned();
    let mut last = "";
    for (family, command) in commands {
        if family != last {
            text += &format!("\n## {family}\n\n| command | what it does | how it differs |\n|---|---|---|\n");
            last = family;
        }
        text += &row(command);
    }
    text +=
        "\n## Not offered\n\nThey fail with exit code 3 and the reason.\n\n| command | why |\n|---|---|\n";
    for (name, why) in REFUSED {
        text += &format!("| `{name}` | {why} |\n");
    }
    text
}

fn row(command: &Command) -> String {
    let differs = if command.differs.is_empty() { "same" } else { command.differs };
    let about = command.about.trim_end_matches('.');
    format!("| `{}` | {about} | {differs} |\n", command.name).replace("||", "\\|\\|")
}
