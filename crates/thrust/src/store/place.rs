//! Which store a command works on: arguments that all commands have, and the files that they name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::store::examine::{self, StoreFiles};
use ::store::{Options, ReadOnlyDisk, RealDisk, StoreError};
use clap::Args;
use settings::SettingError;

use crate::output::screen::say;
use crate::serve::key_values;

/// Which store, and how large its files are.
#[derive(Debug, Args)]
pub struct Place {
    /// Directory of the store, storePathRootDir of its broker.
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The broker.conf of the store, for its directories and the sizes of its files.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the commit log, if it is not below that of the store.
    #[arg(long, value_name = "DIR")]
    pub commitlog: Option<PathBuf>,
    /// A key of broker.conf, over what the file says; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Why a command cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error("cannot read {}: {cause}; check the path given with -c", path.display())]
    ConfigFile { path: PathBuf, cause: std::io::Error },
    #[error("no store is named; give its directory, or a broker.conf with -c")]
    NoDirectory,
    #[error("{0}")]
    Arguments(String),
}

/// Opens the store that the arguments name, with the sizes that they give or that the files have, for changing it. Its
/// paths lead there from everywhere: what a repair takes out is put beside it, with commands that somebody runs later.
pub fn open(place: &Place) -> Result<StoreFiles, CommandError> {
    let mut options = options(place)?;
    options.root = from_everywhere(&options.root);
    options.commit_log_dir = from_everywhere(&options.commit_log_dir);
    Ok(StoreFiles::open(Arc::new(RealDisk), options)?)
}

/// The path from the root, with a name at its end, which `.` and `..` are not. What is not there stays as it is, to be
/// complained of in the words of who named it.
fn from_everywhere(path: &Path) -> PathBuf {
    match std::path::absolute(path) {
        Ok(absolute) if absolute.file_name().is_some() => absolute,
        _ => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
    }
}

/// The same for looking at it, which a copy or another user's files that cannot be written are enough for.
pub fn open_to_look(place: &Place) -> Result<StoreFiles, CommandError> {
    let files = StoreFiles::open(Arc::new(ReadOnlyDisk), options(place)?)?;
    if !files.is_locked() {
        let lock = files.options().root.join("lock");
        say(&format!(
            "thrust: {} cannot be locked; nobody must write to the store meanwhile",
            lock.display()
        ));
    }
    Ok(files)
}

fn options(place: &Place) -> Result<Options, CommandError> {
    let text = match &place.config {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|cause| CommandError::ConfigFile { path: path.clone(), cause })?,
        None => String::new(),
    };
    let mut overrides = key_values(&place.set).map_err(CommandError::Arguments)?;
    let mut add = |key: &str, path: &Option<PathBuf>| {
        if let Some(path) = path {
            overrides.push((key.to_owned(), path.display().to_string()));
        }
    };
    add("storePathRootDir", &place.dir);
    add("storePathCommitLog", &place.commitlog);
    let loaded = settings::load_broker(&text, &overrides)?;
    if place.dir.is_none() && loaded.place_of("storePathRootDir").is_none() {
        return Err(CommandError::NoDirectory);
    }
    let mut options = broker::store_options(&loaded.settings);
    // No file says how large files are; what is not told is taken from those that are there.
    let sizes = examine::sizes(&RealDisk, &options.root, &options.commit_log_dir)?;
    if let (None, Some(bytes)) = (loaded.place_of("mappedFileSizeCommitLog"), sizes.segment_bytes) {
        options.segment_bytes = bytes;
    }
    if let (None, Some(entries)) =
        (loaded.place_of("mappedFileSizeConsumeQueue"), sizes.queue_segment_entries)
    {
        options.queue_segment_entries = entries;
    }
    if let (None, Some(entries)) =
        (loaded.place_of("mapperFileSizeBatchConsumeQueue"), sizes.batch_queue_segment_entries)
    {
        options.batch_queue_segment_entries = entries;
    }
    if let (None, Some(bytes)) =
        (loaded.place_of("mappedFileSizeConsumeQueueExt"), sizes.queue_ext_segment_bytes)
    {
        options.queue_ext_segment_bytes = bytes;
    }
    Ok(options)
}
