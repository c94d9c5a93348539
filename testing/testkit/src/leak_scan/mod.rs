//! Scan for secret values in everything that the operator writes.

mod objects;
mod patterns;

use std::{fs, path::Path};

use anyhow::Result;
use auth0_simulator::ValueHistory;
pub use objects::object_documents;
pub use patterns::{Encoding, SecretPatterns};
use secrecy::ExposeSecret as _;

/// Text in which no secret value may occur.
#[derive(Clone, Debug)]
pub struct Document {
    /// Name in reports, and of the file in which the document is kept.
    pub name: String,
    pub text: String,
}

impl Document {
    pub fn new(name: impl Into<String>, text: String) -> Self {
        Self { name: name.into(), text }
    }
}

/// Result of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeakReport {
    /// Number of values that were searched for.
    pub values: usize,
    /// Number of bytes that were searched.
    pub bytes: u64,
    /// Names of the documents and files that were searched.
    pub searched: Vec<String>,
    /// Names of those that contain a secret value, with its encoding.
    pub found_in: Vec<String>,
}

impl LeakReport {
    /// Returns what was searched, or where a value was found.
    pub fn detail(&self) -> String {
        let Self { values, bytes, searched, found_in } = self;
        if found_in.is_empty() {
            let searched = searched.join(", ");
            format!("searched {} KiB for {values} secrets and tokens: {searched}", bytes / 1024)
        } else {
            format!("found in {}", found_in.join(", "))
        }
    }
}

/// Scan that is in progress.
pub struct LeakScan {
    patterns: SecretPatterns,
    report: LeakReport,
}

impl LeakScan {
    pub fn new(patterns: SecretPatterns) -> Self {
        let report = LeakReport { values: patterns.values(), ..LeakReport::default() };
        Self { patterns, report }
    }

    /// Returns a scan for every secret and token that Auth0 ever had, in every encoding.
    ///
    /// # Errors
    ///
    /// When there are too many.
    pub fn for_values_of(ever: &ValueHistory) -> Result<Self> {
        let values = ever.secrets.iter().chain(&ever.tokens).map(|value| value.expose_secret());
        Ok(Self::new(SecretPatterns::new(values)?))
    }

    /// Scans documents.
    pub fn documents(&mut self, documents: &[Document]) {
        for Document { name, text } in documents {
            self.record(name, text.len() as u64, self.patterns.find(text));
        }
    }

    /// Scans the files in a directory.
    pub fn directory(&mut self, path: &Path) -> Result<()> {
        for entry in fs::read_dir(path)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let found = self.patterns.find_in_file(&path)?;
            self.record(&name, path.metadata()?.len(), found);
        }
        Ok(())
    }

    pub fn finish(self) -> LeakReport {
        self.report
    }

    fn record(&mut self, name: &str, bytes: u64, found: Option<Encoding>) {
        self.report.bytes += bytes;
        self.report.searched.push(name.to_owned());
        if let Some(encoding) = found {
            self.report.found_in.push(format!("{name} ({encoding:?})"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_names_the_document_with_a_leak() {
        let mut scan = LeakScan::new(SecretPatterns::new(["secret-secret"]).unwrap());
        scan.documents(&[
            Document::new("log", "rotation 2 started".into()),
            Document::new("Events", "it is c2VjcmV0LXNlY3JldA".into()),
        ]);
        let report = scan.finish();
        assert_eq!(report.found_in, ["Events (Base64)"]);
        assert_eq!((report.values, report.bytes), (1, 42));
    }
}
