//! `pack` and `device`: a model as an image, and a firmware's console on this machine.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use super::{Place, binary, homespun, number};

/// What the device in `flash` answers to `lines`.
fn talk(image: &str, flash: &str, lines: &[&str]) -> String {
    let mut child = binary::command()
        .args(["device", "--image", image, "--flash", flash, "--isa", "scalar"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut input = child.stdin.take().expect("piped");
    writeln!(input, "{}", lines.join("\n")).expect("lines");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn an_image_learns_a_person_and_goes_on_where_it_was_saved() {
    let place = Place::new();
    let (image, flash) = (place.path("builtin.img"), place.path("flash"));
    let pack = ["pack", "--model", "builtin", "--dtype", "q4", "--out", &image, "--json"];
    let packed = homespun(&pack).fine().json();
    assert_eq!(number(&packed, "bytes"), fs::metadata(&image).expect("image").len() as f64);
    assert!(number(&packed, "proved") > 30.0);
    let question = "say What shall I drink?";
    let first = talk(
        &image,
        &flash,
        &[
            "hear What shall I drink?\tA cup of coffee.",
            "ask",
            "prefer 0\tMint tea from Orla.",
            question,
            "learn 12",
            question,
            "save",
            "quit",
            "never read",
        ],
    );
    let says: Vec<&str> = first.lines().filter(|line| line.starts_with("says")).collect();
    assert!(says.len() == 2 && says[0] != says[1] && says[1].contains("tea"), "{first}");
    assert!(first.ends_with("saved 1 after 12 steps\n"), "{first}");
    let second = talk(&image, &flash, &["buffer", question]);
    let expected =
        format!("bin 0: heard 0, answered\tMint tea from Orla.\n1 of 8 bins\n{}\n", says[1]);
    assert_eq!(second, expected);
}

#[test]
fn what_is_no_image_is_refused_by_its_name() {
    let place = Place::new();
    let (image, flash) = (place.path("builtin.img"), place.path("flash"));
    let pack = ["pack", "--model", "builtin", "--dtype", "q8", "--out", &image];
    homespun(&pack).fine();
    let refused = |image: &str, part: &str| {
        homespun(&["device", "--image", image, "--flash", &flash]).refused(&[image, part]);
    };
    let bytes = fs::read(&image).expect("image");
    refused(&place.file("none.img", "HOMESPUN"), "is no image");
    refused(&place.file("short.img", &bytes[..bytes.len() - 1]), "cut short");
    let mut damaged = bytes;
    damaged[1_000_000] ^= 1;
    refused(&place.file("damaged.img", &damaged), "body is damaged");
    refused(&place.path("missing.img"), "No such file");
    assert!(fs::metadata(&flash).is_err(), "a flash was made for nothing");
    let dtype = ["pack", "--model", "builtin", "--dtype", "bf16", "--out", &place.path("x")];
    homespun(&dtype).refused(&["--dtype", "bf16"]);
    let quantised = place.path("quantised");
    homespun(&["quantize", "--model", "builtin", "--to", "q4", "--out", &quantised]).fine();
    let again = ["pack", "--model", &quantised, "--dtype", "f32", "--out", &place.path("x")];
    homespun(&again).refused(&["is q4 already"]);
    homespun(&["pack", "--model", &quantised, "--dtype", "q4", "--out", &place.path("x")]).fine();
}
