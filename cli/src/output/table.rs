//! Tables and lists of facts, as plain text that `awk` can read too.

use std::fmt;

use comfy_table::{CellAlignment, ContentArrangement, Table as Grid, presets};

use super::text::clean;

/// Spaces between columns.
const GAP: u16 = 3;

/// Rows under a heading in capitals.
#[derive(Debug)]
pub(crate) struct Table {
    grid: Grid,
}

impl Table {
    /// A table without rows. A heading that begins with `>` has its column written to the right, as numbers are.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING);
        grid.set_content_arrangement(ContentArrangement::Disabled);
        grid.set_header(
            headings
                .iter()
                .map(|heading| heading.trim_start_matches('>')),
        );
        for (index, heading) in headings.iter().enumerate() {
            let column = grid.column_mut(index).expect("every heading made one");
            column.set_padding((0, GAP));
            if heading.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { grid }
    }

    /// Adds a row; an empty cell becomes `-`, so that columns can be counted.
    pub(crate) fn row<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>) {
        let cell = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                clean(text).into_owned()
            }
        };
        let cells: Vec<String> = cells.into_iter().map(cell).collect();
        self.grid.add_row(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.grid
            .lines()
            .try_for_each(|line| writeln!(f, "{}", line.trim_end()))
    }
}

/// Facts with their names, one a line.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    facts: Vec<(&'static str, String)>,
}

impl Facts {
    /// Adds a fact; an empty one is left out.
    pub(crate) fn add(&mut self, name: &'static str, fact: impl AsRef<str>) -> &mut Self {
        let fact = fact.as_ref();
        if !fact.is_empty() {
            self.facts.push((name, clean(fact).into_owned()));
        }
        self
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .facts
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0);
        self.facts
            .iter()
            .try_for_each(|(name, fact)| writeln!(f, "{name:width$}   {fact}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table = Table::new(&["ID", ">SIZE", "TAGS"]);
        table.row(["3f2a9c1b", "1.0 GiB", "daily"]);
        table.row(["8c1d02aa", "512 B", ""]);
        table.row(["8c1d02ab", "1 B", "a\nb"]);
        let lines = [
            "ID            SIZE   TAGS",
            "3f2a9c1b   1.0 GiB   daily",
            "8c1d02aa     512 B   -",
            "8c1d02ab       1 B   a\\nb",
        ];
        assert_eq!(table.to_string().lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn facts_line_up_and_empty_ones_are_left_out() {
        let mut facts = Facts::default();
        facts
            .add("Point", "3f2a")
            .add("Tags", "")
            .add("Size", "1 B");
        assert_eq!(facts.to_string(), "Point   3f2a\nSize    1 B\n");
    }
}
