//! `homespun doctor`: what a machine has, and whether it is the board that it is meant to be.

use super::{homespun, number};

#[test]
fn it_tells_what_there_is_and_whether_a_board_fits() {
    let run = homespun(&["doctor", "--json"]).fine();
    let row = run.json();
    assert_eq!((&row["board"], &row["fits"]), (&"host".into(), &true.into()), "{row}");
    for key in ["cores", "ram_bytes", "room_bytes", "read_bytes", "float_operations"] {
        assert!(number(&row, key) > 0.0, "{key}: {row}");
    }
    let scalar = homespun(&["doctor", "--isa", "scalar", "--threads", "1", "--json"]).fine().json();
    assert_eq!((&scalar["isa"], number(&scalar, "threads")), (&"scalar".into(), 1.0), "{scalar}");
    homespun(&["doctor", "--board", "pi6"]).refused(&["pi6", "pi5", "jetson_orin"]);
    homespun(&["doctor", "--board", "rp2350"]).refused(&["rp2350", "firmware", "pi5"]);
    if cfg!(target_arch = "x86_64") {
        let other = homespun(&["doctor", "--board", "pi5"]).refused(&["pi5", "does not fit"]);
        assert!(other.stdout.contains("it is x86_64, not aarch64"), "{other:?}");
    }
}
