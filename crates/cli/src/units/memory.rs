//! Memory: `4G`, `500M`, `4096` (MiB, as Slurm reads a plain number).

use thiserror::Error;

/// Why a text is not an amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MemoryError {
    /// Not a whole number with a unit.
    #[error("expected a whole number with K, M, G or T, such as 4G (a plain number is MiB)")]
    Shape,
    /// Zero means "all" to Slurm and nothing elsewhere.
    #[error("0 is no amount; for all of a node's memory use -S --mem=0")]
    Zero,
    /// More MiB than fit in 64 bits.
    #[error("too large")]
    TooLarge,
}

/// Reads an amount of memory; the answer is in MiB. Units are powers of 1024,
/// upper or lower case, with or without `B` or `iB`; kibibytes are rounded up.
///
/// ```
/// use forebay::units::memory;
///
/// assert_eq!(memory::parse("4G"), Ok(4096));
/// assert_eq!(memory::print(4096), "4G");
/// ```
pub fn parse(text: &str) -> Result<u64, MemoryError> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err(MemoryError::Shape);
    }
    let number: u64 = digits.parse().map_err(|_| MemoryError::TooLarge)?;
    let mib = match unit.to_ascii_lowercase().as_str() {
        "k" | "kb" | "kib" => Some(number.div_ceil(1024)),
        "" | "m" | "mb" | "mib" => Some(number),
        "g" | "gb" | "gib" => number.checked_mul(1 << 10),
        "t" | "tb" | "tib" => number.checked_mul(1 << 20),
        _ => return Err(MemoryError::Shape),
    };
    match mib.ok_or(MemoryError::TooLarge)? {
        0 => Err(MemoryError::Zero),
        mib => Ok(mib),
    }
}

/// The shortest exact text for an amount in MiB: `4G`, `1536M`.
pub fn print(mib: u64) -> String {
    const UNITS: [(u64, char); 2] = [(1 << 20, 'T'), (1 << 10, 'G')];
    for (size, unit) in UNITS {
        if mib != 0 && mib.is_multiple_of(size) {
            return format!("{}{unit}", mib / size);
        }
    }
    format!("{mib}M")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_printed_reads_back(mib in 1_u64..) {
            prop_assert_eq!(parse(&print(mib)), Ok(mib));
        }

        #[test]
        fn round_amounts_read_back(gib in 1_u64..1 << 40) {
            prop_assert_eq!(parse(&print(gib << 10)), Ok(gib << 10));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,12}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn units_are_those_of_sbatch() {
        let good = [
            ("4096", 4096),
            ("1k", 1),
            ("1025K", 2),
            ("3m", 3),
            ("4G", 4096),
            ("4GiB", 4096),
            ("4gb", 4096),
            ("2T", 2 << 20),
        ];
        for (text, mib) in good {
            assert_eq!(parse(text), Ok(mib), "{text}");
        }
        for bad in ["", "G", "-1G", "1.5G", "4 G", "4X", "4GG", "٤G", "0x10"] {
            assert_eq!(parse(bad), Err(MemoryError::Shape), "{bad}");
        }
        assert_eq!(parse("0G"), Err(MemoryError::Zero));
        assert_eq!(parse("18446744073709551615T"), Err(MemoryError::TooLarge));
        assert_eq!(parse("18446744073709551616"), Err(MemoryError::TooLarge));
    }
}
