//! `thrust man`: manual pages from the definitions of the commands.

use std::path::Path;

use clap::Command;

use crate::failure::Failure;
use crate::output::screen::{print_bytes, print_line};
use crate::output::words::count;

/// Prints the page of `thrust`; with a directory, writes the page of every command into it, as `thrust-topic-list.1`.
pub fn write(dir: Option<&Path>, root: Command) -> Result<(), Failure> {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        // Writing into memory does not fail.
        clap_mangen::Man::new(root).render(&mut page).map_err(Failure::of_output)?;
        return print_bytes(&page);
    };
    let cannot = |cause| Failure::File { what: format!("write manual pages to {}", dir.display()), cause };
    std::fs::create_dir_all(dir).map_err(cannot)?;
    let number = pages(&root);
    clap_mangen::generate_to(root, dir).map_err(cannot)?;
    print_line(&format!("{} in {}", count(number, "page"), dir.display()))
}

/// One for a command and for each below it that is shown; the directory may have others too.
fn pages(command: &Command) -> usize {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    1 + shown.map(pages).sum::<usize>()
}
