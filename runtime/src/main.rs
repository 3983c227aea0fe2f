//! The command line.

fn main() {
    println!("homespun");
}
