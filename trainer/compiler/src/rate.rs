//! False-alarm rates as people write them.

use elbo::Rate;

/// Units of time and their seconds.
const UNITS: [(&[&str], u128); 7] = [
    (&["s", "sec", "second"], 1),
    (&["min", "m", "minute"], 60),
    (&["h", "hour"], 3600),
    (&["d", "day"], 86_400),
    (&["w", "week"], 604_800),
    (&["month"], 2_629_746),
    (&["y", "year"], 31_556_952),
];

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RateError {
    /// The text is not a share, a fraction, or a number of alarms in a time.
    #[error(
        "`{0}`: expected a share of normal rows such as 0.1% or 1/1000, or alarms in a time such as 1/day or 2/hour"
    )]
    Text(String),
    /// The text is not a length of time.
    #[error("`{0}`: expected a length of time with its unit, such as 250ms, 0.5s, 5m or 1h")]
    Period(String),
    /// A rate in a time, without the time of a row.
    #[error("`{0}` is a rate in a time: say how long a row lasts, for example --period 5m")]
    NoPeriod(String),
    /// The rate is 0, above 1, or too small.
    #[error("`{0}`: expected a rate above 0 and at most one alarm for each row, and not below 1 in 4294967295")]
    Range(String),
}

/// An exact positive number.
#[derive(Clone, Copy)]
struct Fraction {
    above: u128,
    below: u128,
}

impl Fraction {
    /// A decimal number without sign or exponent, of at most 12 digits.
    fn decimal(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{part}");
        let valid = !whole.is_empty() && digits.len() <= 12 && digits.bytes().all(|digit| digit.is_ascii_digit());
        let below = 10u128.pow(u32::try_from(part.len()).ok().filter(|_| valid)?);
        Some(Self { above: digits.parse().ok()?, below })
    }

    fn times(self, other: Self) -> Self {
        Self { above: self.above * other.above, below: self.below * other.below }
    }

    fn inverse(self) -> Self {
        Self { above: self.below, below: self.above }
    }

    /// The rate, rounded down if its exact terms need more than 32 bits.
    fn rate(self) -> Option<Rate> {
        let (mut a, mut b) = (self.above, self.below);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        let (above, below) = (self.above / a.max(1), self.below / a.max(1));
        match (u32::try_from(above), u32::try_from(below)) {
            (Ok(above), Ok(below)) => Rate::new(above, below),
            _ => {
                // The fraction of the largest denominator.
                let below = u128::from(u32::MAX);
                Rate::new(u32::try_from(above.checked_mul(below)? / self.below.max(1) * a.max(1)).ok()?, u32::MAX)
            }
        }
    }
}

/// The seconds of a unit.
fn unit(text: &str) -> Option<Fraction> {
    let milliseconds = (text == "ms").then_some(Fraction { above: 1, below: 1000 });
    let named = |(names, seconds): &(&[&str], u128)| {
        names.iter().any(|name| text == *name || text.strip_suffix('s') == Some(name)).then_some(*seconds)
    };
    milliseconds.or_else(|| Some(Fraction { above: UNITS.iter().find_map(named)?, below: 1 }))
}

/// A length of time, for example `250ms`, `0.5s`, `5m`, `1 h` or `1 day`.
#[derive(Clone, Copy)]
pub struct Period(Fraction);

impl Period {
    /// The time of `hop` samples at `rate` samples a second, to a thousandth of a hertz. `None` if the rate is not known.
    pub fn of_samples(hop: u32, rate: f64) -> Option<Self> {
        let millihertz = (rate * 1000.0).round() as u64;
        (millihertz > 0 && hop > 0)
            .then(|| Self(Fraction { above: u128::from(hop) * 1000, below: u128::from(millihertz) }))
    }

    /// Its seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.0.above as f64 / self.0.below as f64
    }
}

impl std::fmt::Debug for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} s", self.0.above, self.0.below)
    }
}

impl std::str::FromStr for Period {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let seconds = unit(&text[number.len()..]).zip(Fraction::decimal(number.trim()));
        let seconds = seconds.map(|(unit, number)| unit.times(number)).filter(|seconds| seconds.above > 0);
        seconds.map(Self).ok_or_else(|| RateError::Period(text.to_owned()))
    }
}

/// A false-alarm rate: a share of normal rows (`0.1%`, `0.001`, `1/1000`) or a number of alarms in a time (`1/day`,
/// `2/hour`, `1/30min`), for rows that come once in every `period`.
///
/// # Errors
/// [`RateError`].
pub fn parse(text: &str, period: Option<Period>) -> Result<Rate, RateError> {
    let malformed = || RateError::Text(text.to_owned());
    let rate = match (text.strip_suffix('%'), text.split_once('/')) {
        (Some(percent), _) => {
            Fraction::decimal(percent.trim()).ok_or_else(malformed)?.times(Fraction { above: 1, below: 100 })
        }
        (None, None) => Fraction::decimal(text.trim()).ok_or_else(malformed)?,
        (None, Some((alarms, among))) => {
            let alarms = Fraction::decimal(alarms.trim()).ok_or_else(malformed)?;
            let among = among.trim();
            match Fraction::decimal(among) {
                Some(rows) => alarms.times(rows.inverse()),
                None => {
                    let count = among.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
                    let time = match count.trim() {
                        "" => Some(Fraction { above: 1, below: 1 }),
                        count => Fraction::decimal(count),
                    };
                    let time = time.zip(unit(&among[count.len()..])).map(|(count, unit)| count.times(unit));
                    let time = time.filter(|time| time.above > 0).ok_or_else(malformed)?;
                    let Period(period) = period.ok_or_else(|| RateError::NoPeriod(text.to_owned()))?;
                    alarms.times(period).times(time.inverse())
                }
            }
        }
    };
    rate.rate().ok_or_else(|| RateError::Range(text.to_owned()))
}

/// A rate in per cent.
#[must_use]
pub fn percent(rate: Rate) -> String {
    let share = 100.0 * f64::from(rate.numerator()) / f64::from(rate.denominator());
    // Three digits that count, without zeros at the end.
    let places = (2.0 - share.log10().floor()).clamp(0.0, 12.0) as usize;
    let text = format!("{share:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str, period: Option<&str>) -> Result<[u32; 2], RateError> {
        let period = period.map(|period| period.parse().unwrap());
        parse(text, period).map(|rate| [rate.numerator(), rate.denominator()])
    }

    #[test]
    fn shares_and_fractions_are_exact() {
        for text in ["0.1%", "0.1 %", "0.001", "1/1000", "0.5/500", "2 / 2000"] {
            assert_eq!(rate(text, None), Ok([1, 1000]), "{text}");
        }
        assert_eq!(rate("1", None), Ok([1, 1]));
        assert_eq!(rate("2.5%", None), Ok([1, 40]));
    }

    #[test]
    fn rates_in_a_time_need_the_time_of_a_row() {
        assert_eq!(rate("1/day", Some("5m")), Ok([1, 288]));
        assert_eq!(rate("2/hour", Some("250ms")), Ok([1, 7200]));
        assert_eq!(rate("1/30min", Some("0.5s")), Ok([1, 3600]));
        assert_eq!(rate("3/weeks", Some("1 h")), Ok([1, 56]));
        assert_eq!(rate("1/year", Some("1s")), Ok([1, 31_556_952]));
        assert_eq!(rate("1/day", None), Err(RateError::NoPeriod("1/day".to_owned())));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in ["", "x", "1/", "/5", "-1%", "1e-3", "1/fortnight", "1/0min", "0.1.2", "%", "١%"] {
            assert_eq!(rate(text, Some("1s")), Err(RateError::Text(text.to_owned())), "{text}");
        }
        for text in ["0", "0%", "101%", "2", "2/s", "0/day", "1/0"] {
            assert_eq!(rate(text, Some("1s")), Err(RateError::Range(text.to_owned())), "{text}");
        }
        for text in ["5", "m", "0s", "-1s", "1 fortnight", ""] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_fraction_that_is_too_fine_is_rounded_down() {
        let [above, below] = rate("0.1234567891%", None).unwrap();
        let share = f64::from(above) / f64::from(below);
        assert!(below == u32::MAX && share <= 0.001234567891 && share > 0.00123456765, "{share}");
        assert_eq!(rate("1/99999999999", None), Err(RateError::Range("1/99999999999".to_owned())));
    }

    #[test]
    fn a_rate_is_shown_in_per_cent() {
        let shown = |above, below| percent(Rate::new(above, below).unwrap());
        assert_eq!([shown(1, 10), shown(1, 1000), shown(1, 145), shown(1, 1)], ["10 %", "0.1 %", "0.69 %", "100 %"]);
    }
}
