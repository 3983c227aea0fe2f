//! Hours of the day, in the time of the place.

/// From a minute of the day to another; past midnight where the second is the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    from: u16,
    to: u16,
}

impl Hours {
    /// Whether the minute of the day `minute` is in them.
    pub const fn has(self, minute: u16) -> bool {
        let Hours { from, to } = self;
        if from <= to { from <= minute && minute < to } else { minute >= from || minute < to }
    }

    /// Whether they are now.
    pub fn are_now(self) -> bool {
        let now = jiff::Zoned::now();
        self.has(60 * now.hour().unsigned_abs() as u16 + now.minute().unsigned_abs() as u16)
    }
}

impl core::str::FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let minute = |text: &str| {
            let (hour, minute) = text.split_once(':')?;
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (hour < 24 && minute < 60).then_some(60 * hour + minute)
        };
        let hours = text
            .split_once('-')
            .and_then(|(from, to)| Some(Hours { from: minute(from)?, to: minute(to)? }));
        hours.ok_or_else(|| format!("{text:?} are no hours such as 22:00-07:00"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_night_goes_past_midnight() {
        let night: Hours = "22:00-07:30".parse().unwrap();
        let at = |hour: u16, minute: u16| night.has(60 * hour + minute);
        assert!(at(22, 0) && at(23, 59) && at(0, 0) && at(7, 29));
        assert!(!at(7, 30) && !at(12, 0) && !at(21, 59));
        let noon: Hours = "12:00-13:00".parse().unwrap();
        assert!(noon.has(12 * 60) && !noon.has(13 * 60));
        for wrong in ["", "22-7", "24:00-07:00", "22:00", "22:60-07:00", "a:b-c:d"] {
            assert!(wrong.parse::<Hours>().is_err(), "{wrong}");
        }
    }
}
