//! Memory sizes: `4G`, `1024M`, `4000Mc`, `1.50G`, `0`.

use std::fmt;
use std::str::FromStr;

/// A memory size as Slurm prints and takes it.
///
/// Without a unit it counts mebibytes, as in `sbatch --mem`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemorySize {
    /// How much, in kibibytes.
    pub kib: u64,
    /// Of what.
    pub per: MemoryPer,
}

/// What a [`MemorySize`] is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryPer {
    /// The text does not say.
    Unsaid,
    /// Each node (`n`).
    Node,
    /// Each CPU (`c`).
    Cpu,
    /// Each GPU (`g`).
    Gpu,
}

/// The text is not a memory size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a memory size: write a number and K, M, G or T")]
pub struct ParseMemoryError(pub String);

impl MemorySize {
    /// In mebibytes, rounded up.
    pub fn mib(self) -> u64 {
        self.kib.div_ceil(1024)
    }
}

impl FromStr for MemorySize {
    type Err = ParseMemoryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.trim()).ok_or_else(|| ParseMemoryError(text.chars().take(40).collect()))
    }
}

fn parse(text: &str) -> Option<MemorySize> {
    let (rest, per) = match text.as_bytes().last()? {
        b'n' => (&text[..text.len() - 1], MemoryPer::Node),
        b'c' => (&text[..text.len() - 1], MemoryPer::Cpu),
        // `5G` is five gibibytes; only after another unit is a `g` "per GPU".
        b'g' if text.len() > 1 && text.as_bytes()[text.len() - 2].is_ascii_alphabetic() => {
            (&text[..text.len() - 1], MemoryPer::Gpu)
        }
        _ => (text, MemoryPer::Unsaid),
    };
    let rest = rest.strip_suffix(['B', 'b']).unwrap_or(rest);
    let (digits, scale) = match rest.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => (&rest[..rest.len() - 1], 1),
        b'M' => (&rest[..rest.len() - 1], 1 << 10),
        b'G' => (&rest[..rest.len() - 1], 1 << 20),
        b'T' => (&rest[..rest.len() - 1], 1 << 30),
        b'P' => (&rest[..rest.len() - 1], 1 << 40),
        _ => (rest, 1 << 10),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || fraction.len() > 6 {
        return None;
    }
    let mut kib = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    if !fraction.is_empty() {
        let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(scale);
        kib = kib.checked_add(
            u64::try_from(part / 10_u128.pow(u32::try_from(fraction.len()).ok()?)).ok()?,
        )?;
    }
    Some(MemorySize { kib, per })
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, char); 4] = [
            (1 << 40, 'P'),
            (1 << 30, 'T'),
            (1 << 20, 'G'),
            (1 << 10, 'M'),
        ];
        match UNITS
            .iter()
            .find(|(scale, _)| self.kib > 0 && self.kib.is_multiple_of(*scale))
        {
            Some((scale, unit)) => write!(f, "{}{unit}", self.kib / scale)?,
            None if self.kib == 0 => f.write_str("0M")?,
            None => write!(f, "{}K", self.kib)?,
        }
        f.write_str(match self.per {
            MemoryPer::Unsaid => "",
            MemoryPer::Node => "n",
            MemoryPer::Cpu => "c",
            MemoryPer::Gpu => "g",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read() {
        for (text, kib, per) in [
            ("4G", 4 << 20, MemoryPer::Unsaid),
            ("1024M", 1 << 20, MemoryPer::Unsaid),
            ("1024", 1 << 20, MemoryPer::Unsaid),
            ("0", 0, MemoryPer::Unsaid),
            ("4000Mc", 4_096_000, MemoryPer::Cpu),
            ("4000Mn", 4_096_000, MemoryPer::Node),
            ("2Gg", 2 << 20, MemoryPer::Gpu),
            ("1.50G", 1_572_864, MemoryPer::Unsaid),
            ("512K", 512, MemoryPer::Unsaid),
            ("2T", 2 << 30, MemoryPer::Unsaid),
            ("2gb", 2 << 20, MemoryPer::Unsaid),
        ] {
            assert_eq!(text.parse(), Ok(MemorySize { kib, per }), "{text}");
        }
        for text in [
            "",
            "G",
            "x",
            "-1",
            "1Z",
            "1.2.3G",
            ".5G",
            "99999999999999999999G",
            "99999999999P",
        ] {
            assert!(text.parse::<MemorySize>().is_err(), "{text:?}");
        }
        assert_eq!(
            MemorySize {
                kib: 1025,
                per: MemoryPer::Unsaid
            }
            .mib(),
            2
        );
    }

    proptest! {
        #[test]
        fn round_trips(kib in 0u64..(1 << 50), per in 0usize..4) {
            let per = [MemoryPer::Unsaid, MemoryPer::Node, MemoryPer::Cpu, MemoryPer::Gpu][per];
            let size = MemorySize { kib, per };
            prop_assert_eq!(size.to_string().parse::<MemorySize>(), Ok(size));
        }

        #[test]
        fn reads_any_text_without_panic(text in "\\PC{0,20}") {
            let _ = text.parse::<MemorySize>();
        }
    }
}
