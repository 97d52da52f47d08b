//! Aligned columns.

use std::iter;

use unicode_width::UnicodeWidthStr as _;

/// The blanks after a column.
const GAP: usize = 2;

/// Lays out rows of visible cells, one line for each. Every column is as wide as its widest cell, and `is_number` says
/// which are aligned at the right.
pub(crate) fn lines<const N: usize>(rows: &[[String; N]], is_number: [bool; N]) -> Vec<String> {
    let mut widths = [0; N];
    for row in rows {
        for (column, cell) in widths.iter_mut().zip(row) {
            *column = width(cell).max(*column);
        }
    }
    let line = |row: &[String; N]| {
        let mut line = String::with_capacity(widths.iter().sum::<usize>() + N * GAP);
        for ((cell, column), is_number) in row.iter().zip(widths).zip(is_number) {
            let blanks = iter::repeat_n(' ', column - width(cell));
            if is_number {
                line.extend(blanks);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.extend(blanks);
            }
            line.extend([' '; GAP]);
        }
        line.truncate(line.trim_end().len());
        line
    };
    rows.iter().map(line).collect()
}

/// Returns the columns that a visible text takes.
pub(crate) fn width(text: &str) -> usize {
    // Most texts are ASCII, and counted faster.
    if text.is_ascii() {
        text.len()
    } else {
        text.width()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["A", "N", "B"],
            ["日本", "10", "x"],
            ["a", "5", ""],
            ["", "", "yy "],
        ];
        let rows = rows.map(|row| row.map(str::to_owned));
        assert_eq!(
            lines(&rows, [false, true, false]),
            ["A      N  B", "日本  10  x", "a      5", "          yy"]
        );
        assert_eq!(lines(&[[""; 2].map(str::to_owned)], [false; 2]), [""]);
    }
}
