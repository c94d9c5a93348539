//! The last lines of a log, for error messages.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

const MAX_LINES: usize = 20;
const MAX_BYTES: u64 = 16 * 1024;

/// Returns the last lines of the file at `path`, indented, or a note if there are none.
pub(crate) fn log_tail(path: &Path) -> String {
    match read_end(path) {
        Ok(text) if text.trim().is_empty() => "  (the log is empty)".to_owned(),
        Ok(text) => {
            let lines: Vec<_> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(MAX_LINES)..];
            last.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("  (can't read the log {}: {error})", path.display()),
    }
}

fn read_end(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_the_last_lines_or_a_note() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert!(log_tail(&path).contains("can't read"));
        std::fs::write(&path, "").unwrap();
        assert_eq!(log_tail(&path), "  (the log is empty)");
        let text: String = (1..=5000).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&path, text).unwrap();
        let tail = log_tail(&path);
        assert_eq!(tail.lines().count(), MAX_LINES);
        assert!(tail.ends_with("\n  line 5000"), "{tail}");
    }
}
