//! Instants (RFC 3339) and durations (Go's syntax: `1h30m`, `1.5s`) as text.
//!
//! Both in nanoseconds; an instant since 1970, so that the years 1 to 9999 of CEL need more than 64 bits.

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;

const DAY: i128 = 86_400 * 1_000_000_000;

/// 0001-01-01T00:00:00Z
pub const EARLIEST: i128 = -62_135_596_800 * 1_000_000_000;

/// 9999-12-31T23:59:59.999999999Z
pub const LATEST: i128 = 253_402_300_800 * 1_000_000_000 - 1;

/// Reads an instant.
#[must_use]
pub fn instant(text: &str) -> Option<i128> {
    let (date, rest) = text.split_once('T')?;
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    let valid =
        parts.next().is_none() && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    let zone_at = rest.find(['Z', '+', '-'])?;
    let (clock, zone) = rest.split_at_checked(zone_at)?;
    let (clock, fraction) = match clock.split_once(['.', ',']) {
        Some((clock, fraction)) => (clock, nanoseconds(fraction)?),
        None => (clock, 0),
    };
    let mut parts = clock.split(':');
    // Go's reader takes an hour of one digit too.
    let hour = parts.next()?;
    let hour = digits(hour, hour.len().clamp(1, 2))?;
    let (minute, second) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let valid = valid && parts.next().is_none() && hour < 24 && minute < 60 && second < 60;
    let offset = offset(zone)?;
    let seconds = hour.checked_mul(3600)?.checked_add(minute.checked_mul(60)?)?.checked_add(second)?;
    let seconds = days(year, month, day)?.checked_mul(86_400)?.checked_add(seconds)?.checked_sub(offset)?;
    let all = i128::from(seconds).checked_mul(i128::from(SECOND))?.checked_add(fraction)?;
    valid.then_some(all)
}

/// `Z`, `+02:00`: seconds east of Greenwich.
#[must_use]
pub fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, zone) = match zone.strip_prefix('-') {
        Some(rest) => (-1_i64, rest),
        None => (1, zone.strip_prefix('+')?),
    };
    let (hours, minutes) = zone.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    if hours > 24 || minutes > 60 {
        return None;
    }
    hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?.checked_mul(sign)
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let fits = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

fn nanoseconds(fraction: &str) -> Option<i128> {
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    nine.parse().ok()
}

fn is_leap(year: i64) -> bool {
    let divides = |n: i64| year.checked_rem_euclid(n) == Some(0);
    divides(4) && (!divides(100) || divides(400))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date in the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let from_march = month.checked_add(9)?.checked_rem(12)?;
    let of_year =
        from_march.checked_mul(153)?.checked_add(2)?.checked_div(5)?.checked_add(day)?.checked_sub(1)?;
    let of_era = of_era
        .checked_mul(365)?
        .checked_add(of_era.checked_div(4)?)?
        .checked_sub(of_era.checked_div(100)?)?
        .checked_add(of_year)?;
    era.checked_mul(146_097)?.checked_add(of_era)?.checked_sub(719_468)
}

/// A piece of an instant or a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what its function in CEL is called")]
pub enum Field {
    FullYear,
    Month,
    DayOfYear,
    DayOfMonth,
    Date,
    DayOfWeek,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// A piece of an instant, some seconds east of Greenwich. Months, days of the year and of the month count from 0, dates from 1.
#[must_use]
pub fn field(instant: i128, east: i64, field: Field) -> Option<i64> {
    let local = instant.checked_add(i128::from(east).checked_mul(i128::from(SECOND))?)?;
    let day = i64::try_from(local.div_euclid(DAY)).ok()?;
    let within = i64::try_from(local.rem_euclid(DAY)).ok()?;
    let part = |unit: i64, modulo: i64| within.checked_div(unit)?.checked_rem(modulo);
    let (year, month, date) = date(day)?;
    match field {
        Field::FullYear => Some(year),
        Field::Month => month.checked_sub(1),
        Field::DayOfYear => day.checked_sub(days(year, 1, 1)?),
        Field::DayOfMonth => date.checked_sub(1),
        Field::Date => Some(date),
        // 1970-01-01 was a Thursday; Sunday is 0.
        Field::DayOfWeek => day.checked_add(4)?.checked_rem_euclid(7),
        Field::Hours => part(SECOND.checked_mul(3600)?, 24),
        Field::Minutes => part(SECOND.checked_mul(60)?, 60),
        Field::Seconds => part(SECOND, 60),
        Field::Milliseconds => part(1_000_000, 1000),
    }
}

/// Year, month and date of a day since 1970-01-01.
fn date(day: i64) -> Option<(i64, i64, i64)> {
    let shifted = day.checked_add(719_468)?;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = of_era
        .checked_sub(of_era.checked_div(1460)?)?
        .checked_add(of_era.checked_div(36_524)?)?
        .checked_sub(of_era.checked_div(146_096)?)?
        .checked_div(365)?;
    let before =
        year.checked_mul(365)?.checked_add(year.checked_div(4)?)?.checked_sub(year.checked_div(100)?)?;
    let of_year = of_era.checked_sub(before)?;
    let from_march = of_year.checked_mul(5)?.checked_add(2)?.checked_div(153)?;
    let date =
        of_year.checked_sub(from_march.checked_mul(153)?.checked_add(2)?.checked_div(5)?)?.checked_add(1)?;
    let month = if from_march < 10 { from_march.checked_add(3)? } else { from_march.checked_sub(9)? };
    let year = year.checked_add(era.checked_mul(400)?)?;
    Some((if month <= 2 { year.checked_add(1)? } else { year }, month, date))
}

/// A piece of a duration: all of its hours, minutes, seconds; of its milliseconds only those beyond the seconds.
#[must_use]
pub fn field_of_duration(duration: i64, field: Field) -> Option<i64> {
    let by = |unit: i64| duration.checked_div(unit);
    match field {
        Field::Hours => by(SECOND.checked_mul(3600)?),
        Field::Minutes => by(SECOND.checked_mul(60)?),
        Field::Seconds => by(SECOND),
        Field::Milliseconds => by(1_000_000),
        _ => None,
    }
}

/// An instant as RFC 3339 has it, in Greenwich, with as many decimals as it needs.
#[must_use]
pub fn print_instant(instant: i128) -> Option<String> {
    let get = |f: Field| field(instant, 0, f);
    let (year, month, date) = (get(Field::FullYear)?, get(Field::Month)?.checked_add(1)?, get(Field::Date)?);
    let (hour, minute, second) = (get(Field::Hours)?, get(Field::Minutes)?, get(Field::Seconds)?);
    let fraction = instant.rem_euclid(i128::from(SECOND));
    let mut decimals = if fraction == 0 { String::new() } else { format!(".{fraction:09}") };
    decimals.truncate(decimals.trim_end_matches('0').len());
    Some(format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}{decimals}Z"))
}

/// Reads a duration: an optional sign, then numbers with units, such as `1h15m30.5s`; or `0`.
#[must_use]
pub fn duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, i128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_i128;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at_checked(end)?;
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at_checked(end)?;
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(*unit)?)?;
        if !fraction.is_empty() {
            let short = fraction.get(..fraction.len().min(18))?;
            let scaled: i128 = short.parse().ok()?;
            let base = 10_i128.checked_pow(u32::try_from(short.len()).ok()?)?;
            total = total.checked_add(scaled.checked_mul(*unit)?.checked_div(base)?)?;
        }
        if total > i128::from(i64::MAX).checked_add(1)? {
            return None;
        }
        rest = behind;
    }
    i64::try_from(if negative { total.checked_neg()? } else { total }).ok()
}
