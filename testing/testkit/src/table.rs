//! Plain-text table.

/// Aligns rows below their titles: two columns of words, then numbers.
pub fn table<const N: usize>(titles: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let titles = titles.map(str::to_owned);
    let lines: Vec<_> = std::iter::once(&titles).chain(rows).collect();
    let width = |column: usize| lines.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<_> = (0..N).map(width).collect();
    let format_row = |row: &&[String; N]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    lines.iter().map(format_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLES: [&str; 7] =
        ["application", "strategy", "rotations", "logins", "second try", "failed", "longest gap"];

    #[test]
    fn columns_are_aligned() {
        let row = ["checkout", "Rotate", "2", "1204", "7", "0", "0.31 s"].map(str::to_owned);
        let lines = table(TITLES, &[row]);
        assert_eq!(lines[0].len(), lines[1].len());
        assert_eq!(
            lines[1],
            "checkout     Rotate            2    1204           7       0       0.31 s"
        );
    }
}
