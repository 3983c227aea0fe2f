//! `homespun demo --quick`: the whole loop, the same twice.

use super::{homespun, number};

#[test]
fn the_quick_demo_learns_gives_its_figures_and_repeats_itself() {
    let first = homespun(&["demo", "--quick", "--json"]).fine();
    let second = homespun(&["demo", "--quick", "--json", "--threads", "1"]).fine();
    let (first, second) = (first.json(), second.json());
    for key in ["rouge1_before", "rouge1_random", "rouge1_after", "gflop", "bins", "annotations"] {
        assert_eq!(number(&first, key), number(&second, key), "{key}");
    }
    for key in ["seconds", "peak_anonymous_bytes", "peak_rss_bytes"] {
        assert!(number(&first, key) > 0.0, "{key}");
    }
    assert!(number(&first, "rouge1_after") > number(&first, "rouge1_before"), "{first}");
    assert!(number(&first, "gflop") <= 20.0, "too much for an emulator: {first}");
    assert!(number(&first, "peak_anonymous_bytes") < 64e6, "{first}");
    assert!(10.0 * number(&first, "bins") <= number(&first, "stream"), "{first}");
    let other = homespun(&["demo", "--quick", "--json", "--stream-seed", "11"]).fine().json();
    assert_ne!(other["loss_before"], first["loss_before"], "another user is the same user");
}
