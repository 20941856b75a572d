//! `thrust bench draw`: what `scripts/curves` measured, as one picture for each curve.

mod picture;
mod points;

use std::path::Path;

use super::args::DrawArgs;
use super::error::BenchError;

/// Draws all curves of a file.
pub fn run(args: &DrawArgs) -> Result<(), BenchError> {
    let text = std::fs::read_to_string(&args.file)
        .map_err(|cause| BenchError::Table { path: args.file.clone(), cause: cause.to_string() })?;
    let curves = points::read(&text).map_err(|cause| BenchError::Table { path: args.file.clone(), cause })?;
    for (curve, servers) in &curves {
        let path = args.dir.join(format!("{curve}.svg"));
        write(&path, &picture::draw(curve, servers))?;
        tell!("{}", path.display());
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|cause| BenchError::Picture { path: path.to_owned(), cause })
}
