//! The table that all figures of a run end in.

use std::fmt;

/// Collects figures, and says each as soon as it is known.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<Figure>);

/// One figure.
#[derive(Debug)]
struct Figure {
    what: String,
    measured: f64,
    unit: Unit,
    wanted: Wanted,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    Milliseconds,
    Mebibytes,
    PerSecond,
    /// One measurement divided by another.
    Ratio,
}

/// What is promised of a figure.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    AtMost(f64),
    AtLeast(f64),
    /// Nothing; it explains another figure.
    Nothing,
}

impl Table {
    pub(super) fn add(&mut self, what: impl Into<String>, measured: f64, unit: Unit, wanted: Wanted) {
        let figure = Figure { what: what.into(), measured, unit, wanted };
        eprintln!("  {}: {}", figure.what, unit.show(measured));
        self.0.push(figure);
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Mebibytes => format!("{value:.1} MiB"),
            Self::PerSecond if value < 1000.0 => format!("{value:.1} /s"),
            Self::PerSecond => format!("{} /s", grouped(value)),
            Self::Ratio => format!("{value:.3}"),
        }
    }
}

/// A large number without fraction, its digits in threes.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

impl Figure {
    /// What was measured, what is wanted, their quotient, the verdict.
    fn columns(&self) -> [String; 5] {
        let (wanted, limit, met) = match self.wanted {
            Wanted::AtMost(limit) => ("≤", limit, self.measured <= limit),
            Wanted::AtLeast(limit) => ("≥", limit, self.measured >= limit),
            Wanted::Nothing => {
                let none = String::new;
                return [self.what.clone(), self.unit.show(self.measured), none(), none(), none()];
            }
        };
        [
            self.what.clone(),
            self.unit.show(self.measured),
            format!("{wanted} {}", self.unit.show(limit)),
            format!("{:.2}", self.measured / limit),
            if met { "met" } else { "NOT met" }.to_owned(),
        ]
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["what", "measured", "wanted", "measured / wanted", ""].map(str::to_owned);
        let rows: Vec<[String; 5]> =
            std::iter::once(head).chain(self.0.iter().map(Figure::columns)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3].map(width);
        for [what, measured, wanted, quotient, verdict] in &rows {
            let [w0, w1, w2, w3] = widths;
            let line = format!("{what:<w0$}  {measured:>w1$}  {wanted:>w2$}  {quotient:>w3$}  {verdict}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_for_what_is_wanted() {
        let mut table = Table::default();
        table.add("a", 250.0, Unit::Milliseconds, Wanted::AtMost(300.0));
        table.add("bc", 12_345.6, Unit::PerSecond, Wanted::AtLeast(200_000.0));
        table.add("d", 0.5, Unit::Ratio, Wanted::Nothing);
        let expected = "\
what   measured        wanted  measured / wanted
a      250.0 ms    ≤ 300.0 ms               0.83  met
bc  12 346 /s  ≥ 200 000 /s               0.06  NOT met
d         0.500
";
        let trimmed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(trimmed(&table.to_string()), trimmed(expected));
    }
}
