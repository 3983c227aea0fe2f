//! The boards with a firmware of their own, a line each: name, target, whether it runs here, where the weights
//! lie, the features that it is built with and the setting that each runs with, and the most bytes of code and
//! of RAM. For `boards/firmware/check.py`.

use homespun_boards::{ALL, Tier};

fn main() {
    for board in ALL {
        if let Some(budget) = board.size_budget {
            let (name, target) = (board.name, board.target);
            let runs = board.tier == Tier::Runs;
            let weights = board.partition("weights").address().unwrap_or_default();
            let variants = match board.name {
                // As much memory as there is, and as much as most of its kind have.
                "mps2_an386" => "=large,ram-512k=small",
                _ => "=small",
            };
            println!(
                "{name} {target} {runs} {weights:#x} {variants} {} {}",
                budget.code, budget.ram
            );
        }
    }
}
