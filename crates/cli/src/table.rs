//! Tables that fit the terminal: columns give way in a stated order; into
//! files and pipes they go uncut.

use crate::{console::Screen, text};

/// How a cell looks on a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tint {
    /// As everything else.
    #[default]
    Plain,
    /// Went well.
    Good,
    /// Went badly.
    Bad,
    /// Waits.
    Waiting,
    /// Is at work.
    Active,
    /// Of less interest.
    Faint,
}

impl Tint {
    /// The text in this look.
    pub fn paint(self, text: &str, screen: Screen) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            _ if !screen.colour => return text.to_owned(),
            Self::Good => 32,
            Self::Bad => 31,
            Self::Waiting => 33,
            Self::Active => 36,
            Self::Faint => 2,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// The width it may be cut to where space is short; absent if it is never cut.
    pub cut_to: Option<usize>,
    /// Where even that does not help, the highest go first; 0 never goes.
    pub expendable: u8,
}

/// A cell.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    tint: Tint,
}

impl Cell {
    /// A cell; the text is made harmless.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self {
            text: text::plain(text.as_ref()).into_owned(),
            tint: Tint::Plain,
        }
    }

    /// The same in another look.
    #[must_use]
    pub fn tint(mut self, tint: Tint) -> Self {
        self.tint = tint;
        self
    }
}

/// Rows under headings.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

const GAP: usize = 2;

impl Table {
    /// A table without rows.
    pub fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, a cell for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The lines of the table, each with its line end.
    pub fn render(&self, screen: Screen) -> String {
        let widths = self.widths(screen.cells);
        let heading = |c: &Column| Cell::new(c.title).tint(Tint::Faint);
        let headings: Vec<Cell> = self.columns.iter().map(heading).collect();
        let mut lines = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            lines.push_str(&line(row, &widths, screen));
            lines.push('\n');
        }
        lines
    }

    /// The width of each column, `None` for those left out.
    fn widths(&self, cells: Option<usize>) -> Vec<Option<usize>> {
        let mut widths = self.natural();
        let Some(cells) = cells else { return widths };
        loop {
            let mut fitted = widths.clone();
            let mut over = total(&fitted).saturating_sub(cells);
            for (width, column) in fitted.iter_mut().zip(&self.columns).rev() {
                if let (Some(width), Some(least)) = (width, column.cut_to) {
                    let give = width
                        .saturating_sub(least.max(text::width(column.title)))
                        .min(over);
                    *width -= give;
                    over -= give;
                }
            }
            let shown = self
                .columns
                .iter()
                .enumerate()
                .filter(|(index, _)| widths[*index].is_some());
            let next = shown
                .filter(|(_, c)| c.expendable > 0)
                .max_by_key(|(_, c)| c.expendable);
            match next {
                Some((index, _)) if over > 0 => widths[index] = None,
                _ => return fitted,
            }
        }
    }

    /// The width at which nothing is cut.
    fn natural(&self) -> Vec<Option<usize>> {
        let longest = |index: usize| {
            self.rows
                .iter()
                .filter_map(move |row| row.get(index))
                .map(|cell| text::width(&cell.text))
                .max()
        };
        let width = |(index, column): (usize, &Column)| {
            Some(longest(index).unwrap_or(0).max(text::width(column.title)))
        };
        self.columns.iter().enumerate().map(width).collect()
    }
}

fn total(widths: &[Option<usize>]) -> usize {
    let shown = widths.iter().flatten();
    shown.clone().sum::<usize>() + GAP * shown.count().saturating_sub(1)
}

/// One line; nothing is padded behind its last cell.
fn line(row: &[Cell], widths: &[Option<usize>], screen: Screen) -> String {
    let mut line = String::new();
    let mut pad = 0;
    for (cell, width) in row.iter().zip(widths) {
        let Some(width) = *width else { continue };
        let text = text::cut(&cell.text, width);
        if !text.is_empty() {
            line.extend(std::iter::repeat_n(' ', pad));
            line.push_str(&cell.tint.paint(&text, screen));
            pad = 0;
        }
        pad += width - text::width(&text) + GAP;
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: [Column; 3] = [
        Column {
            title: "ID",
            cut_to: None,
            expendable: 0,
        },
        Column {
            title: "NAME",
            cut_to: Some(6),
            expendable: 0,
        },
        Column {
            title: "REASON",
            cut_to: Some(8),
            expendable: 1,
        },
    ];

    fn table(rows: &[[&str; 3]]) -> Table {
        let mut table = Table::new(&COLUMNS);
        for row in rows {
            table.row(row.iter().map(Cell::new).collect());
        }
        table
    }

    fn narrow(cells: usize) -> Screen {
        Screen {
            cells: Some(cells),
            colour: false,
        }
    }

    #[test]
    fn columns_give_way_in_order() {
        let table = table(&[["j1", "simulation", "waits for nodes"], ["j2", "日本", ""]]);
        let wide = "ID  NAME        REASON\nj1  simulation  waits for nodes\nj2  日本\n";
        assert_eq!(table.render(Screen::default()), wide);
        assert_eq!(table.render(narrow(31)), wide);
        // First the reason is cut, then the name, then the reason goes and the name comes back.
        assert_eq!(
            table.render(narrow(25)),
            "ID  NAME        REASON\nj1  simulation  waits fo…\nj2  日本\n"
        );
        assert_eq!(
            table.render(narrow(20)),
            "ID  NAME    REASON\nj1  simul…  waits f…\nj2  日本\n"
        );
        assert_eq!(
            table.render(narrow(19)),
            "ID  NAME\nj1  simulation\nj2  日本\n"
        );
        assert_eq!(table.render(narrow(3)), "ID  NAME\nj1  simul…\nj2  日本\n");
    }

    #[test]
    fn colours_only_where_wanted() {
        let mut table = Table::new(&COLUMNS[..1]);
        table.row(vec![Cell::new("j1").tint(Tint::Good)]);
        assert_eq!(table.render(Screen::default()), "ID\nj1\n");
        let colour = Screen {
            cells: None,
            colour: true,
        };
        assert_eq!(
            table.render(colour),
            "\x1b[2mID\x1b[0m\n\x1b[32mj1\x1b[0m\n"
        );
    }

    proptest! {
        #[test]
        fn a_terminal_is_never_overrun(names in proptest::collection::vec(any::<String>(), 0..4), cells in 18_usize..60) {
            let mut table = Table::new(&COLUMNS);
            for name in &names {
                table.row(vec![Cell::new("j1"), Cell::new(name), Cell::new(name)]);
            }
            let shown = table.render(narrow(cells));
            prop_assert_eq!(shown.lines().count(), names.len() + 1);
            for line in shown.lines() {
                prop_assert!(text::width(line) <= cells, "{:?} in {}", line, cells);
            }
        }
    }
}
