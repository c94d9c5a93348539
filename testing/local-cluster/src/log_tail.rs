//! The end of a server's log, for error messages.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

const LINES: usize = 20;
const BYTES: u64 = 16 * 1024;

/// The last lines of the file at `path`, indented; a note when there are none.
pub(crate) fn tail(path: &Path) -> String {
    match read_end(path) {
        Ok(text) if text.trim().is_empty() => "  (its log is empty)".to_owned(),
        Ok(text) => {
            let lines: Vec<_> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES)..];
            last.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("  (its log {} can't be read: {error})", path.display()),
    }
}

fn read_end(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert!(tail(&path).contains("can't be read"));
        std::fs::write(&path, "").unwrap();
        assert_eq!(tail(&path), "  (its log is empty)");
        let text: String = (1..=5000).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&path, text).unwrap();
        let tail = tail(&path);
        assert_eq!(tail.lines().count(), LINES);
        assert!(tail.ends_with("\n  line 5000"), "{tail}");
    }
}
