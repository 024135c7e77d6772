//! Lists for people and for programs: tables in the layout of `det`, CSV, JSON.

use anyhow::Result;
use clap::Args;
use comfy_table::{CellAlignment, ContentLineStyle, LineStyle, Table as Grid, TableStyle};
use serde::Serialize;

use crate::output::{self, printable};

/// The layout that `det` prints (tabulate's "presto"), which scripts split at `|`.
const PRESTO: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none().junction('|'))
    .header_separator(LineStyle::none().fill('-').junction('+'))
    .content_lines(ContentLineStyle::none().junction('|'));

/// A column's heading is at least this much narrower than the column, as in `det`.
const HEADING_ROOM: usize = 2;

/// How a list is to be shown.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Format {
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print CSV
    #[arg(long)]
    pub(crate) csv: bool,
}

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row with as many cells as there are headings.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.headings.len());
        self.rows.push(cells.into());
    }

    /// Prints the table, or the `json` value that it shows, as `format` says.
    pub(crate) fn print<T: Serialize + ?Sized>(&self, format: Format, json: &T) -> Result<()> {
        if format.json {
            output::json(json)
        } else if format.csv {
            output::text_block(&self.csv())
        } else {
            output::line(&self.text())
        }
    }

    fn text(&self) -> String {
        let mut grid = Grid::new();
        grid.load_style(PRESTO);
        grid.set_header(self.headings.iter().map(|h| format!("{h}{:HEADING_ROOM$}", "")));
        for row in &self.rows {
            grid.add_row(row.iter().map(|cell| printable(cell).into_owned()));
        }
        for column in grid.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Left);
        }
        grid.trim_fmt()
    }

    /// RFC 4180, with line ends that every tool on this side reads.
    fn csv(&self) -> String {
        let mut out = String::new();
        let headings = self.headings.iter().map(|&heading| heading.to_owned()).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let cells: Vec<_> = row.iter().map(|cell| csv_cell(cell)).collect();
            out.push_str(&cells.join(","));
            out.push('\n');
        }
        out
    }
}

/// One CSV cell. A spreadsheet would run what begins like a formula, so an apostrophe goes before it (R49).
fn csv_cell(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guarded = if formula { format!("'{cell}") } else { cell.to_owned() };
    if guarded.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

/// `True` or `False`, as `det` writes them.
pub(crate) fn yes_no(value: bool) -> String {
    if value { "True" } else { "False" }.to_owned()
}

/// An RFC 3339 time as tables show it: UTC, whole seconds. Anything else stays as it is.
pub(crate) fn time(rfc3339: &str) -> String {
    match rfc3339.parse::<jiff::Timestamp>() {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S+0000").to_string(),
        Err(_) => rfc3339.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[&str; 2]]) -> Table {
        let mut table = Table::new(&["id", "description"]);
        for row in rows {
            table.row(row.map(str::to_owned));
        }
        table
    }

    #[test]
    fn looks_like_det() {
        let text = table(&[["ab12", "x"], ["c", "a longer name\u{1b}[31m"]]).text();
        let expected = [
            " id   | description",
            "------+-------------------------",
            " ab12 | x",
            " c    | a longer name\\u{1b}[31m",
        ];
        assert_eq!(text, expected.join("\n"));
        assert_eq!(table(&[]).text(), " id   | description\n------+---------------");
    }

    #[test]
    fn csv_is_quoted_against_spreadsheets() {
        assert_eq!(table(&[["a", "b,\"c\""]]).csv(), "id,description\na,\"b,\"\"c\"\"\"\n");
        for cell in ["=1+1", "+1", "-1", "@x", "\tx"] {
            assert_eq!(csv_cell(cell), format!("'{cell}"));
        }
        assert_eq!(csv_cell("\rx"), "\"'\rx\"");
        assert_eq!(csv_cell("a=b"), "a=b");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(time("2026-11-22T10:00:00.123456Z"), "2026-11-22 10:00:00+0000");
        assert_eq!(time("soon"), "soon");
    }
}
