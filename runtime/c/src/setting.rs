//! What a caller chooses, checked.

use homespun_runtime::device::Setting;
use homespun_runtime::samples::RECORD_BYTES;

use crate::status::hs_status;

/// The preset for half a megabyte: an adapter on q and v, pieces of 8 tokens, keys and values in f16.
pub const HS_SMALL: u32 = 0;
/// The preset for megabytes: an adapter on q, k, v and o, pieces of 32 tokens, keys and values in f32.
pub const HS_LARGE: u32 = 1;

/// How a device lives with a person: begin with `hs_setting_small` or `hs_setting_large`.
///
/// What is saved belongs to `bins`, `rank`, `alpha` and the preset: with others `hs_open` gives
/// `HS_FOREIGN`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct hs_setting {
    /// Of every draw; the same gives the same.
    pub seed: u64,
    /// Learning rate, from 0 to 1.
    pub learning_rate: f64,
    /// The adapter is scaled by alpha / rank; at most 65536 either way.
    pub alpha: f32,
    /// The adapter's rank, from 1 to 256.
    pub rank: u32,
    /// The most tokens of a dialogue, its reply included: from 8 to 8192.
    pub context: u32,
    /// The most bytes of a dialogue's text: from 16 to 22528.
    pub text_bytes: u32,
    /// Dialogues that are kept, from 1 to 1024.
    pub bins: u32,
    /// Dialogues of a step, from 1 to 1024.
    pub batch: u32,
    /// `HS_SMALL` or `HS_LARGE`: all else.
    pub preset: u32,
}

/// The preset `HS_SMALL`.
#[unsafe(no_mangle)]
pub extern "C" fn hs_setting_small() -> hs_setting {
    hs_setting::of(&Setting::SMALL, HS_SMALL)
}

/// The preset `HS_LARGE`.
#[unsafe(no_mangle)]
pub extern "C" fn hs_setting_large() -> hs_setting {
    hs_setting::of(&Setting::LARGE, HS_LARGE)
}

impl hs_setting {
    fn of(setting: &Setting, preset: u32) -> Self {
        hs_setting {
            seed: setting.seed,
            learning_rate: setting.lr,
            alpha: setting.lora.alpha,
            rank: setting.lora.rank as u32,
            context: setting.context as u32,
            text_bytes: setting.text as u32,
            bins: setting.bins as u32,
            batch: setting.batch as u32,
            preset,
        }
    }

    /// The runtime's setting, if every field is in its range.
    pub(crate) fn checked(&self) -> Result<Setting, hs_status> {
        let mut setting = match self.preset {
            HS_SMALL => Setting::SMALL,
            HS_LARGE => Setting::LARGE,
            _ => return Err(hs_status::HS_INVALID_SETTING),
        };
        let is_fine = (0.0..=1.0).contains(&self.learning_rate)
            && (-65536.0..=65536.0).contains(&self.alpha)
            && (1..=256).contains(&self.rank)
            && (8..=8192).contains(&self.context)
            && (16..=RECORD_BYTES as u32).contains(&self.text_bytes)
            && (1..=1024).contains(&self.bins)
            && (1..=1024).contains(&self.batch);
        if !is_fine {
            return Err(hs_status::HS_INVALID_SETTING);
        }
        setting.seed = self.seed;
        setting.lr = self.learning_rate;
        setting.lora.alpha = self.alpha;
        setting.lora.rank = self.rank as usize;
        setting.context = self.context as usize;
        setting.text = self.text_bytes as usize;
        setting.bins = self.bins as usize;
        setting.batch = self.batch as usize;
        Ok(setting)
    }

    /// # Safety
    /// `setting` is null or leads to a setting.
    pub(crate) unsafe fn read(setting: *const hs_setting) -> Result<Setting, hs_status> {
        if setting.is_null() {
            return Err(hs_status::HS_NULL);
        }
        // SAFETY: it is not null, so it leads to a setting; any bits are one.
        unsafe { *setting }.checked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_the_runtimes_and_each_field_has_a_range() {
        let small = hs_setting_small();
        for (one, preset) in [(small, Setting::SMALL), (hs_setting_large(), Setting::LARGE)] {
            let checked = one.checked().unwrap();
            assert_eq!(hs_setting::of(&checked, one.preset), one);
            assert_eq!((checked.prefill, checked.kv), (preset.prefill, preset.kv));
            assert_eq!((checked.pieces, checked.lora), (preset.pieces, preset.lora));
        }
        for wrong in [
            hs_setting { learning_rate: f64::NAN, ..small },
            hs_setting { alpha: f32::INFINITY, ..small },
            hs_setting { rank: 0, ..small },
            hs_setting { context: u32::MAX, ..small },
            hs_setting { text_bytes: 0, ..small },
            hs_setting { bins: 0, ..small },
            hs_setting { batch: 0, ..small },
            hs_setting { preset: 2, ..small },
        ] {
            assert_eq!(wrong.checked().unwrap_err(), hs_status::HS_INVALID_SETTING, "{wrong:?}");
        }
    }
}
