//! `docs/configuration.md`, written from the definitions so that it cannot lag behind them.

use std::fmt::Write;

use crate::broker::Broker;
use crate::known::{self, CLASSES};
use crate::nameserver::Nameserver;
use crate::table::{Change, Table};

const HEAD: &str = "\
# Configuration

<!-- Written by `cargo run -p settings --example configuration_page > docs/configuration.md`; a test compares. -->

A `broker.conf` or `namesrv.conf` of the Java distribution is taken as it is. The text is Java properties text,
UTF-8 or Latin-1. Each of these wins over those before it: default, environment (`NAMESRV_ADDR`, which `thrust serve`
leaves alone), file, options of the command line, `--set key=value`. `--data`, `--listen` and `--advertise` win over
`--set` too. Of a key that comes twice the last line counts.

| a key that | does this |
|---|---|
| is in the first two chapters | acts; a value it cannot take stops the start with the line, what is accepted and the default |
| is in the last chapter | has no effect; the start lists it once with the reason |
| is in neither | has no effect; the start warns and proposes the nearest name. With `--set` it stops the start |

Blanks around values do not count, also around numbers (the Java broker then keeps the default without a word).
`true` and `false` may be written in any case; another word is an error (the Java broker takes it for `false`).

**Paths** may begin with `~/` and may contain `${user.home}` or `$HOME`, `${ROCKETMQ_HOME}` or
`${rocketmq.home.dir}`. Without `$HOME` the working directory stands for it. Another `${…}` is an error, because
it is a template that nobody filled in. The Java broker expands none of them in a file and creates a directory
of that name.

**Changing a value while running** (`mqadmin updateBrokerConfig`, `updateNamesrvConfig`): the column says whether
a change acts at *once* or from the next *start*; *file* means that a client is refused (NO_PERMISSION), because
the key names a path, an address, an identity, a size that the files on disk have, or a limit that protects the
process. What `configBlackList` names is refused too. Changed values are written into the file given with `-c`, in
place of the old ones; everything else in it stays, comments and order too. Without `-c`, or when the file cannot be
written, values of a broker last until it stops; its answer says so, also what is not in force yet and what has no
effect, and `mqadmin` and `thrust broker config set` show that on standard error. A name server without `-c` writes
them into `configStorePath`, and no start reads that file by itself: give it to the next one with `-c`. Where its file
cannot be written it refuses the change, and what has no effect is told in its log alone.

**`thrust serve`** reads a `broker.conf` alone. Its name server listens where its broker does, keeps its table in
`namesrv/kvConfig.json` below the broker's data, and has the defaults for the rest. What is changed in it while running
lasts until it stops: it is written into `configStorePath`, which is `~/namesrv/namesrv.properties`, and not read again.
";

const ATTRIBUTES: &str = "
## Attributes of topics and groups

Set with `thrust topic create orders --attribute NAME=VALUE` or `mqadmin updateTopic … -a +NAME=VALUE`; of groups with
`mqadmin updateSubGroup … --attributes +NAME=VALUE`. An attribute or a value that is not in this table is refused.

| attribute | of | takes | without it | can change | meaning |
|---|---|---|---|---|---|
| `queue.type` | topics | SimpleCQ, BatchCQ | SimpleCQ | no | BatchCQ: the topic takes inner batches; each is one entry of its queue. |
| `cleanup.policy` | topics | DELETE, COMPACTION | DELETE | no | COMPACTION: the last message of each key is kept. |
| `message.type` | topics | UNSPECIFIED, NORMAL, FIFO, DELAY, TRANSACTION, MIXED, PRIORITY | UNSPECIFIED | yes | What clients are told that the topic is for. PRIORITY: urgent messages are popped first. MIXED needs `enableMixedMessageType`. |
| `retention.ms` | topics | -1, or 1 and more, up to `fileReservedTime` | -1: as long as the log | yes | How long messages can be read. Ours; Java keeps it and does nothing with it. Not with `cleanup.policy=COMPACTION`. |
| `dedup.window.ms` | topics | 0 to 86400000 | 0: not at all | yes | How long a unique key is known, so that a repeated send is stored once. Ours. Not with `queue.type=BatchCQ`. |
| `priority.factor` | groups | 0 to 100 | 100 | yes | Of a hundred pops from topics of the type PRIORITY, how many take urgent messages first. |

What they promise is in [guarantees.md](guarantees.md).
";

/// The text of `docs/configuration.md`.
pub fn configuration_page() -> String {
    let mut page = HEAD.to_owned();
    acting::<Broker>(&mut page);
    acting::<Nameserver>(&mut page);
    page.push_str(ATTRIBUTES);
    without_effect(&mut page);
    page
}

fn acting<S: Table>(page: &mut String) {
    line(page, format_args!("\n## Keys of {} that act", S::FILE));
    let defaults = S::default();
    let mut section = "";
    for row in S::ROWS {
        if row.section != section {
            section = row.section;
            line(page, format_args!("\n### {section}\n"));
            line(page, format_args!("| key | form | default | change | meaning |\n|---|---|---|---|---|"));
        }
        let written = defaults.get(row.key).unwrap_or_default();
        let default = match (row.default_in_words, &*written) {
            (Some(words), _) => words.to_owned(),
            (None, "") => "none".to_owned(),
            (None, value) => format!("`{value}`"),
        };
        let change = match row.change {
            Change::Live => "once",
            Change::Restart => "start",
            Change::Locked => "file",
        };
        let (key, form, meaning) = (row.key, row.form, row.meaning);
        line(page, format_args!("| `{key}` | {form} | {default} | {change} | {meaning} |"));
    }
}

fn without_effect(page: &mut String) {
    line(page, format_args!("\n## Keys of the Java distribution without effect"));
    for class in &CLASSES {
        let keys: Vec<_> = known::all().filter(|known| known.class == class.name).collect();
        let reason = class.reason;
        if class.name == "old" {
            line(page, format_args!("\n**No keys of the Java broker of today**, but found in tutorials:\n"));
            for known in &keys {
                line(page, format_args!("- `{}`: {}", known.key, known.reason()));
            }
        } else {
            let names: Vec<String> = keys.iter().map(|known| format!("`{}`", known.key)).collect();
            let first = reason.get(..1).unwrap_or_default().to_uppercase();
            let rest = reason.get(1..).unwrap_or_default();
            line(page, format_args!("\n**{first}{rest}:** {}", names.join(", ")));
        }
    }
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{text}");
}
