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
UTF-8 or Latin-1. In order of precedence: default, environment (`NAMESRV_ADDR`), file, `--set key=value`; of a
key that comes twice the last line counts.

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
them into `configStorePath`; where its file cannot be written it refuses the change, and what has no effect is told
in its log alone.
";

/// The text of `docs/configuration.md`.
pub fn configuration_page() -> String {
    let mut page = HEAD.to_owned();
    acting::<Broker>(&mut page);
    acting::<Nameserver>(&mut page);
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
