//! Times as text: dates in several orders, times of a day, and numbers.

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// A time that a field states.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stamp {
    /// Seconds since 1970 of a day without a time of day.
    Day(f64),
    /// Seconds since 1970 of a day with a time of day. Without a zone it is taken for UTC.
    Instant(f64),
    /// Seconds since midnight.
    Clock(f64),
    /// A number in a unit that the field does not state.
    Number(f64),
}

impl Stamp {
    /// The number of seconds, or the number as it is.
    pub(super) fn value(self) -> f64 {
        match self {
            Self::Day(value) | Self::Instant(value) | Self::Clock(value) | Self::Number(value) => value,
        }
    }

    /// Whether both are of one form.
    pub(super) fn like(self, other: Self) -> bool {
        let dated = |stamp| matches!(stamp, Self::Day(_) | Self::Instant(_));
        std::mem::discriminant(&self) == std::mem::discriminant(&other) || dated(self) && dated(other)
    }
}

/// Reads a field: `2026-01-31`, `2026-01-31T10:32:39.5Z`, `2004.02.12.10.32.39`, `31.01.2026 10:32`, `10:32:39.5`, or a
/// number. The day comes first only where dots stand between, because slashes are read in two orders.
pub(super) fn parse(text: &str) -> Option<Stamp> {
    let text = text.trim();
    let number = text.parse::<f64>().ok().or_else(|| text.replace(',', ".").parse().ok());
    if let Some(number) = number {
        return number.is_finite().then_some(Stamp::Number(number));
    }
    if let Some(seconds) = clock(text) {
        return Some(Stamp::Clock(seconds));
    }
    let dotted: Vec<&str> = text.split('.').collect();
    if let [y, m, d, rest @ ..] = dotted.as_slice()
        && (3..=4).contains(&rest.len())
    {
        let time = format!("{}:{}:{}", rest[0], rest[1], rest[2..].join("."));
        return Some(Stamp::Instant(day(&[y, m, d], '.')? + clock(&time)?));
    }
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time.trim())),
        None => (text, None),
    };
    let separator = date.chars().find(|c| "-/.".contains(*c))?;
    let fields: Vec<&str> = date.split(separator).collect();
    let seconds = day(&fields, separator)?;
    match time {
        None => Some(Stamp::Day(seconds)),
        Some(time) => {
            let (time, zone) = zone(time)?;
            Some(Stamp::Instant(seconds + clock(time)? - zone))
        }
    }
}

/// The text of a time, from seconds since 1970 and nanoseconds behind them; years of more than four digits have no text.
#[cfg(any(test, feature = "parquet"))]
pub(in super::super) fn text(seconds: i64, nanoseconds: u32) -> Option<String> {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // As in `day`, but from the days to the year: 400 years have 146097 days, four have 1461, and a March begins each.
    let days = days + 719_468;
    let (era, in_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let leap_days = in_era / 1460 - in_era / 36_524 + in_era / 146_096;
    let of_era = (in_era - leap_days) / 365;
    let in_year = in_era - (365 * of_era + of_era / 4 - of_era / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = 400 * era + of_era + later;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = if nanoseconds == 0 { String::new() } else { format!(".{nanoseconds:09}") };
    let text = || format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}");
    (0..10_000).contains(&year).then(text)
}

/// A whole number of at most `most` digits.
fn digits(text: &str, most: usize) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// The first second since 1970 of a day of the Gregorian calendar.
fn day(fields: &[&str], separator: char) -> Option<f64> {
    let [first, month, last] = *fields else { return None };
    let (year, day) = match (first.len(), last.len()) {
        (4, _) => (first, last),
        (_, 4) if separator == '.' => (last, first),
        _ => return None,
    };
    let (year, month, day) = (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Counted from a March, leap days are the last of their year, and months have 30.6 days.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some((before + (153 * month + 2) / 5 + day - 1 - 719_468) as f64 * DAY)
}

/// Seconds since midnight of `10:32`, `10:32:39` or `10:32:39.5`.
fn clock(text: &str) -> Option<f64> {
    let mut fields = text.split(':');
    let (hours, minutes) = (digits(fields.next()?, 2)?, digits(fields.next()?, 2)?);
    let seconds = match fields.next() {
        None => 0.0,
        Some(text) => {
            let text = text.replace(',', ".");
            let plain = text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(['e', 'E']);
            plain.then(|| text.parse::<f64>().ok())??
        }
    };
    let good = hours < 24 && minutes < 60 && seconds < 61.0 && fields.next().is_none();
    good.then(|| (hours * 3600 + minutes * 60) as f64 + seconds)
}

/// The time of a day, and the seconds by which its zone is ahead of UTC.
fn zone(text: &str) -> Option<(&str, f64)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']).or_else(|| text.strip_suffix("UTC")) {
        return Some((time.trim(), 0.0));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Some((text, 0.0)) };
    let offset = text[at + 1..].replace(':', "");
    let (hours, minutes) = match offset.len() {
        2 => (digits(&offset, 2)?, 0),
        4 => (digits(offset.get(..2)?, 2)?, digits(offset.get(2..)?, 2)?),
        _ => return None,
    };
    let seconds = (hours * 3600 + minutes * 60) as f64;
    Some((text[..at].trim(), if text[at..].starts_with('-') { -seconds } else { seconds }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_the_orders_that_are_unambiguous() {
        let instant = Stamp::Instant(1_076_581_959.0);
        for text in [
            "2004-02-12T10:32:39",
            "2004-02-12 10:32:39Z",
            "2004/02/12 10:32:39 UTC",
            "2004.02.12.10.32.39",
            "12.02.2004 10:32:39",
            "2004-02-12T11:32:39+01:00",
            "2004-02-12T05:32:39.000-0500",
        ] {
            assert_eq!(parse(text), Some(instant), "{text}");
        }
        assert_eq!(parse("2004.02.12.10.32.39.25"), Some(Stamp::Instant(1_076_581_959.25)));
        assert_eq!(parse("1970-01-02"), Some(Stamp::Day(DAY)));
        assert_eq!(parse("2000-03-01"), Some(Stamp::Day(951_868_800.0)));
        assert_eq!(parse("1969-12-31T23:59:59"), Some(Stamp::Instant(-1.0)));
        assert_eq!(parse("10:32:39,5"), Some(Stamp::Clock(37_959.5)));
        assert_eq!(parse("0,005"), Some(Stamp::Number(0.005)));
        assert!(parse("2004-02-12").unwrap().like(instant) && !parse("7").unwrap().like(instant));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "on",
            "2023-02-29",
            "2023-13-01",
            "1900-02-29",
            "12/02/2004",
            "24:00",
            "10:60",
            "10:20:61",
            "1:2:3:4",
            "inf",
            "NaN",
            "2004-02-12T",
            "2004-02-12Tx",
            "2004-02-12T10:32+1",
            "2004-02-12T10:32+é1é",
            "T",
            "-",
            "é",
            "2004.02.12.10.32",
            "99999-01-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_time_or_none(text in "[-0-9:.,TZ+ eé]{0,24}") {
            if let Some(stamp) = parse(&text) {
                proptest::prop_assert!(stamp.value().is_finite());
            }
        }

        #[test]
        fn days_follow_each_other(day_number in -719_000_i64..2_900_000) {
            // The calendar by repeated steps from a known day, in leaps of 400 years.
            let (era, mut rest) = (day_number.div_euclid(146_097), day_number.rem_euclid(146_097));
            let (mut year, mut month) = (1970 + 400 * era, 1);
            let length = |year: i64, month: usize| {
                let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
                [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
            };
            while rest >= length(year, month) {
                rest -= length(year, month);
                (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            }
            let text = format!("{year:04}-{month:02}-{:02}", rest + 1);
            proptest::prop_assert_eq!(parse(&text), Some(Stamp::Day(day_number as f64 * DAY)));
            let back = super::text(day_number * 86_400 + 3_723, 0).unwrap();
            proptest::prop_assert_eq!(back, text + "T01:02:03");
        }
    }
}
