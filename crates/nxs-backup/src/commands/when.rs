//! `--at TIME`: a moment as people write it.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Timestamp, Zoned};

use crate::app::Env;
use crate::exit::Exit;

/// The moment that is meant, or none if none was given. Says what is wrong with it.
pub(super) fn parse(env: &Env, text: Option<&str>) -> Result<Option<Timestamp>, Exit> {
    let Some(text) = text else { return Ok(None) };
    match moment(text, &env.clock.now()) {
        Some(moment) => Ok(Some(moment)),
        None => {
            env.console.say_with_hint(
                &format!("`{text}` is no time"),
                Some("Write 2026-11-20, 2026-11-20 03:00, 2026-11-20T03:00:00Z or the time in a backup's name."),
            );
            Err(Exit::Usage)
        }
    }
}

/// The last moment that the text can mean: a day means its end, a minute its last second. Times without a zone are
/// those of this host.
fn moment(text: &str, now: &Zoned) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(exact) = text.parse::<Timestamp>() {
        return Some(exact);
    }
    let zone = now.time_zone();
    let local = |at: DateTime| zone.to_timestamp(at).ok();
    if let Ok(day) = text.parse::<Date>()
        && text.len() == 10
    {
        return local(day.to_datetime(Time::constant(23, 59, 59, 999_999_999)));
    }
    // As in the names of archives: `2026-11-20_03-00`, with seconds where a minute was taken twice.
    let plain = ["%Y-%m-%d_%H-%M-%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"];
    let minutes = ["%Y-%m-%d_%H-%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];
    if let Some(at) = plain.iter().find_map(|f| DateTime::strptime(f, text).ok()) {
        return local(at.with().subsec_nanosecond(999_999_999).build().ok()?);
    }
    let at = minutes.iter().find_map(|f| DateTime::strptime(f, text).ok())?;
    local(at.with().second(59).subsec_nanosecond(999_999_999).build().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_means_its_end_and_a_minute_its_last_second() {
        let now: Zoned = "2026-11-23T12:00:00[UTC]".parse().unwrap();
        let text = |t: &str| moment(t, &now).map(|m| m.to_string());
        let table = [
            ("2026-11-20", Some("2026-11-20T23:59:59.999999999Z")),
            ("2026-11-20 03:00", Some("2026-11-20T03:00:59.999999999Z")),
            ("2026-11-20_03-00", Some("2026-11-20T03:00:59.999999999Z")),
            ("2026-11-20_03-00-07", Some("2026-11-20T03:00:07.999999999Z")),
            ("2026-11-20T03:00:00Z", Some("2026-11-20T03:00:00Z")),
            ("2026-11-20T03:00:00+02:00", Some("2026-11-20T01:00:00Z")),
            ("2026-02-30", None),
            ("yesterday", None),
            ("", None),
        ];
        for (given, expected) in table {
            assert_eq!(text(given).as_deref(), expected, "{given}");
        }
    }
}
