//! The boards with a firmware of their own, a line each: name, target, whether it runs here, and the most
//! bytes of code and of RAM. For `boards/firmware/check.py`.

use homespun_boards::{ALL, Tier};

fn main() {
    for board in ALL {
        if let Some(budget) = board.size_budget {
            let runs = board.tier == Tier::Runs;
            println!("{} {} {runs} {} {}", board.name, board.target, budget.code, budget.ram);
        }
    }
}
